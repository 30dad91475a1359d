# SPDX-License-Identifier: MIT
"""The author: one From field, a list of addresses as RFC 5322 has it, and one domain in it."""

from __future__ import annotations

import email.headerregistry
import email.message
import email.policy
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import Headers
from qpsmtpd.mailauth.author import MAX_ADDRESSES, MAX_FIELD, Author, read_author

NOT_A_LIST = Author(problem="From is not a list of addresses")
HIDDEN = Author(problem="a line that is not From may be taken for it")


def author(value: str | bytes) -> Author:
    """The author of a message whose From has this value."""
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return read_author(b"To: x@y.example\r\nFrom: " + octets + b"\r\nSubject: x\r\n")


@pytest.mark.parametrize(
    "value",
    [
        "user@a.example",
        "<user@a.example>",
        "Some Body <user@a.example>",
        "  Some Body<user@a.example>  ",
        "\r\n Some\r\n\tBody\r\n <user@a.example>\r\n ",
        '"Body, Some \\"x\\" <x>" <user@a.example>',
        '"admin@legit.example" <user@a.example>',
        '"" <user@a.example>',
        "admin＠legit.example <user@a.example>",
        "J. R. Body <user@a.example>",
        "user@A.EXAMPLE",
        "user@a.example (Some (nested \\) ) Body)",
        "(before) user (middle) @ (after) a.example (end)",
        "Some (a) Body (b) < (c) user@a.example (d) > (e)",
        "=?utf-8?q?S=C3=B6me?= Body <user@a.example>",
        "=?utf-8?q?S=C3=B6me?=<user@a.example>",
        "Söme Body <user@a.example>",
        b"S\xf6me Body <user@a.example>",
        "Some Body <söme@a.example>",
        '"quoted local"@a.example',
        '<"quoted local"@a.example>',
        "a..b@a.example",
        "a.@a.example",
        "user+tag=x/y?z@a.example",
        "one@a.example, two@A.example",
        "one@a.example, Two <two@a.example>,, \r\n three@a.example,",
        ",one@a.example",
        "Group: one@a.example, Two <two@a.example>;",
        '"A group" (c) : one@a.example ;, two@a.example',
        "Empty:;, one@a.example",
        "<@b.example,@c.example:user@a.example>",
        "Some Body <@b.example:user@a.example>",
        "<,@b.example,,@c.example,:user@a.example>",
    ],
)
def test_authors(value: str | bytes) -> None:
    assert author(value) == Author("a.example", "", ("a.example",))


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("user@bücher.example", "xn--bcher-kva.example"),
        ("Some Body <user@BÜCHER.example>", "xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example, b@bücher.example", "xn--bcher-kva.example"),
        ("user@localhost", "localhost"),
        ("user@a_b.example", "a_b.example"),
    ],
)
def test_domains(value: str, domain: str) -> None:
    assert author(value) == Author(domain, "", (domain,))


@pytest.mark.parametrize(
    "value",
    [
        "root",
        "Some Body",
        "Some Body <root>",
        "Some Body <>",
        "<>",
        "@a.example",
        "user@",
        "user@a.example.",
        "user@.a.example",
        "user@a..example",
        "user@a.example b.example",
        "user@a.example .b.example",
        "user@a.example(x).b.example",
        "user@[legit.example]",
        "user@[192.0.2.1",
        "user@a.example\\,two@b.example",
        "<user@a.example>admin@legit.example",
        "<user@a.example> Some Body",
        "<user@a.example> <two@a.example>",
        "<user@a.example",
        "user@a.example>",
        "<<user@a.example>>",
        "user@@a.example",
        "user@legit.example@a.example",
        "Sales @ Company <user@a.example>",
        "admin@legit.example <user@a.example>",
        "admin＠legit.example, <user@a.example>",
        "admin＠legit.example@a.example",
        '"admin@legit.example"@a.example',
        '"unfinished <user@a.example>',
        "(unfinished <user@a.example>",
        "user@a.example )",
        "user@a.example;",
        "Group: user@a.example",
        "Group: Inner: user@a.example;;",
        ": user@a.example;",
        "=?utf-8?b?PGFkbWluQGxlZ2l0LmV4YW1wbGU+?=,<user@a.example>",
        "=?utf-8?q?admin=40legit.example?=@a.example",
        '"=?utf-8?q?admin=40legit.example?="@a.example',
        "=?utf-8?q?admin=40legit.example?=, Some Body <user@a.example>",
        "=?utf-7?q?admin+AEA-legit.example?=, Some Body <user@a.example>",
        "=?utf-8*en?q?admin?=, Some Body <user@a.example>",
        "=?utf-8?b?YWRtaW4=?=, Some Body <user@a.example>",
        "=?utf-8?q?x?= =?utf-8?b?YWRtaW5AbGVnaXQuZXhhbXBsZQ==?=, <user@a.example>",
        "=?utf-8?q?admin?= @ legit.example, <user@a.example>",
        "<@b.example user@a.example>",
        "<@b.example>",
        "<b.example:user@a.example>",
        "<@b..example:user@a.example>",
        "user@a.example\x00",
        "us\x0ber@a.example",
        "user\x7f <user@a.example>",
        "user@bücher．example",
        "user@a\u200b.example",
        b"us\xffer@a.example",
        b"user@a\xff.example",
        "[x]",
        "",
    ],
)
def test_other_texts(value: str | bytes) -> None:
    expected = NOT_A_LIST if value else Author(problem="From names nobody")
    assert author(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "Company, Inc. <user@a.example>",
        "[News] Body: the weekly; <user@a.example>",
        "Söme, Body <user@a.example> ",
        "=?UTF-8?Q?S=C3=B6me,_Body:_x?= <user@a.example>",
        "=?iso-8859-15?q?S=F6me, Body?= =?us-ascii?q?, x?= <user@a.example>",
    ],
)
def test_a_name_without_quotes(value: str) -> None:
    assert author(value).domain == "a.example"


def test_several_domains() -> None:
    problem = "From names more than one domain"
    expected = Author("", problem, ("a.example", "b.example"))
    assert author("one@a.example, two@b.example, three@A.example") == expected
    assert author("x: one@a.example;, <@c.example:two@b.example>") == expected
    literal = author("one@a.example, two@[192.0.2.1]")
    assert (literal.domain, literal.problem) == ("", problem)


def test_nobody() -> None:
    assert author("Undisclosed:;") == Author(problem="From names nobody")
    assert author(" ,\r\n ,") == Author(problem="From names nobody")


def test_an_address_literal_is_no_domain() -> None:
    assert author("root@[192.0.2.1]") == Author("", "", ("[192.0.2.1]",))
    assert author("root@[IPv6:2001:db8::1]") == Author("", "", ("[ipv6:2001:db8::1]",))


# --- the field ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"From: user@a.example\r\n",
        b"FROM:user@a.example",
        b"from \t: user@a.example\r\nTo: x\r\n\r\n",
        b"To: x\r\n from: y@b.example\r\nFrom:\r\n user@a.example\r\n\r\n",
        b"X-From: x@b.example\r\nFrom: user@a.example\r\nFromage: x@b.example\r\n",
        b"From x@b.example Mon Jan 1 00:00:00 2026\r\nFrom: user@a.example\r\n",
        b">From x@b.example Mon Jan 1 00:00:00 2026\r\nFrom: user@a.example\r\n",
        b"Resent-From: x@b.example\r\nFrom: user@a.example\r\nSender: y@b.example\r\n",
        b"no colon\r\nFrom: user@a.example\r\n",
        b"--\r\nFrom: user@a.example\r\n",
    ],
)
def test_fields(header: bytes) -> None:
    assert read_author(header).domain == "a.example"


@pytest.mark.parametrize(
    "line",
    [
        b"From\r\n : x@b.example",
        b"From\r\n\t\r\n : x@b.example",
        b"Fr\r\n om: x@b.example",
        b"From\xc2\xa0: x@b.example",
        b"\xe2\x80\x8bFrom: x@b.example",
        b"From\x01: x@b.example",
        b">From: x@b.example",
        b"From.: x@b.example",
    ],
)
def test_lines_that_may_be_taken_for_it(line: bytes) -> None:
    field = b"From: user@a.example"
    for lines in ((line, field), (field, line), (b"To: x", line)):
        assert read_author(b"\r\n".join(lines) + b"\r\n") == HIDDEN


@pytest.mark.parametrize("first", [b" From: x@b.example", b"\tx", b" "])
def test_white_space_on_top(first: bytes) -> None:
    found = read_author(first + b"\r\nFrom: user@a.example\r\n")
    assert found == Author(problem="the header section begins with white space")


@pytest.mark.parametrize("second", [b"From: x@b.example", b"from : user@a.example", b"From:"])
def test_more_than_one(second: bytes) -> None:
    found = read_author(b"From: user@a.example\r\nTo: x\r\n" + second + b"\r\n")
    assert found == Author(problem="more than one From field")


@pytest.mark.parametrize("header", [b"", b"\r\n", b"To: x\r\n", b"X: From: x@b.example\r\n"])
def test_none(header: bytes) -> None:
    assert read_author(header) == Author(problem="no From field")


def test_limits() -> None:
    fits = " " * (MAX_FIELD - 30)
    assert author(f"user{fits}@a.example").domain == "a.example"
    assert author(f"user{' ' * MAX_FIELD}@a.example") == Author(problem="From is too long")
    assert author(",".join(["a@a.example"] * MAX_ADDRESSES)).domain == "a.example"
    assert author(",".join(["a@a.example"] * (MAX_ADDRESSES + 1))) == NOT_A_LIST


# --- properties -----------------------------------------------------------------------------------

_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=30)
_LOCAL = st.from_regex(r"[a-z0-9!#$%&'*+/^_`{|}~-]+(\.[a-z0-9]+){0,2}", fullmatch=True)
_DOMAINS = st.sampled_from(["a.example", "b.a.example", "c.example"])
_MAILBOXES = st.tuples(_NAMES, _LOCAL, _DOMAINS)


@given(mailboxes=st.lists(_MAILBOXES, min_size=1, max_size=4))
def test_what_the_standard_library_writes_is_read(mailboxes: list[tuple[str, str, str]]) -> None:
    """Every name and address, in all the encodings and quotes that they may need."""
    written = ", ".join(
        email.utils.formataddr((name, f"{local}@{domain}")) for name, local, domain in mailboxes
    )
    domains = tuple(dict.fromkeys(domain for _, _, domain in mailboxes))
    assert author(written).domains == domains


@given(mailbox=_MAILBOXES)
def test_what_a_mail_program_writes_is_read(mailbox: tuple[str, str, str]) -> None:
    """One only: between several, Python's own writer encodes the comma."""
    message = email.message.EmailMessage(email.policy.SMTP)
    message["From"] = email.headerregistry.Address(*mailbox)
    assert read_author(bytes(message)).domains == (mailbox[2],)


@given(text=st.text('ab.@<>,:;()[]"\\ \r\n=?é＠', max_size=40))
def test_a_trusted_author_is_seen_by_every_reader(text: str) -> None:
    """Whatever is accepted has no other domain in it than that of the author, but in its name."""
    header = f"From: {text}\r\n".encode()
    found = read_author(header)
    section = Headers.parse(header)
    assert not (found.domain and found.problem)
    if found.domain:
        assert section.count("From") == 1
        outside = "".join(part for part in text.split('"')[::2])
        assert found.domain in outside.lower() or not outside.isascii() or "\\" in text


@given(header=st.binary(max_size=200))
def test_any_octets(header: bytes) -> None:
    found = read_author(header)
    assert bool(found.domains) or bool(found.problem)
