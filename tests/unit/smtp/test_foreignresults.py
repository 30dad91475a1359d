# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/foreignresults.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import AuthResult, Headers
from qpsmtpd.smtp.foreignresults import LONGEST_HEAD, MOST_FIELDS, MOST_MARKS, remove_claims
from qpsmtpd.smtp.trace import authentication_results
from qpsmtpd.testing import a_transaction
from tests.unit.smtp.rfc8601 import read

ME = "mx.example"
REST = b"Subject: Authentication-Results: mx.example; dkim=pass\r\n"


def left(field: bytes, me: str = ME) -> bytes:
    """What is left of a field that stands between two others."""
    headers = Headers.parse(REST + field + REST)
    removed = remove_claims(headers, (me,))
    rest = bytes(headers)
    assert rest.startswith(REST)
    assert rest.endswith(REST)
    assert (removed == 0) == (rest == REST + field + REST)
    return rest[len(REST) : -len(REST)]


def stays(value: str, me: str = ME) -> bool:
    octets = value.encode("utf-8", "surrogateescape")
    return bool(left(b"Authentication-Results:" + octets + b"\r\n", me))


@pytest.mark.parametrize(
    "value",
    [
        " mx.example; dkim=pass",
        "mx.example;dkim=pass",
        "\r\n\tmx.example;\r\n\tdkim=pass",
        " MX.Example; dkim=pass",
        " mx.example.; dkim=pass",
        ' "mx.example"; dkim=pass',
        ' "MX\\.exa\\mple" ; dkim=pass',
        ' "mx.example\r\n "; dkim=pass',
        " mx.example 1; dkim=pass",
        " mx.example/1; dkim=pass",
        " (a (nested; one) here) mx.example (b) 1 (c); dkim=pass",
        " (un;fin(ished) mx.example; dkim=pass",
        ' "un;finished mx.example; dkim=pass',
        " ; mx.example; dkim=pass",
        " (nothing);;\t; mx.example; dkim=pass",
        ' "";mx.example; dkim=pass',
        " -;mx.example; dkim=pass",
        " mx.example",
        " mx.example dkim=pass",
        " mx.example, foreign.example; dkim=pass",
        " foreign.example, mx.example; dkim=pass",
        " foreign.example mx.example; dkim=pass",
        " mx. example; dkim=pass",
        " mx\r\n .exam\r\n ple; dkim=pass",
        " m\x01x.example\x7f; dkim=pass",
        " mx(comment).example; dkim=pass",
        " mx(\\)).(nested (comment)) example; dkim=pass",
        " (mx((a)b)(c).example; dkim=pass",
        " 'mx.example'; dkim=pass",
        " <mx.example>; dkim=pass",
        " [mx.example]; dkim=pass",
        " @mx.example; dkim=pass",
        " .mx.example; dkim=pass",
        " =?utf-8?q?mx=2Eexample?=; dkim=pass",
        " =?utf-8?b?bXguZXhhbXBsZQ==?=; dkim=pass",
        " =?utf-8?q??=; mx.example; dkim=pass",
        " mx\u3002example; dkim=pass",
        " m\u200dx.exam\u200cple; dkim=pass",
        " mx\ufe00.exa\u034fmple; dkim=pass",
        " xn--mx-.example; dkim=pass",
    ],
)
def test_what_may_be_read_as_ours_goes(value: str) -> None:
    assert not stays(value)


@pytest.mark.parametrize(
    "value",
    [
        " \uff4d\uff58\uff0eexample; dkim=pass",
        " mx\u200b.exam\xadple; dkim=pass",
        " \u200b;mx.example; dkim=pass",
        " a\u0308.example; dkim=pass",
        " \udce9.example; dkim=pass",
        " =?utf-8?q?a.example?=; dkim=pass",
        " é =?utf-8?q?a.example?=; dkim=pass",
        f" {'x' * LONGEST_HEAD}; dkim=pass",
        f"{' ()' * MOST_MARKS} a.example; dkim=pass",
    ],
)
def test_what_cannot_be_a_name_goes(value: str) -> None:
    assert not stays(value)


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results:",
        b"authentication-RESULTS:",
        b"Authentication-Results \t:",
        b"Authentication-Results\r\n :",
        b"Authentication-Results\x0b:",
        b"Authentication-Results\xc2\xa0:",
    ],
)
def test_whatever_the_name_looks_like(field: bytes) -> None:
    assert left(field + b" mx.example; dkim=pass\r\n") == b""
    foreign = field + b" foreign.example; dkim=pass smtp.helo=mx.example\r\n"
    assert left(foreign) == foreign


def test_a_first_line_that_continues_nothing() -> None:
    headers = Headers.parse(b" Authentication-Results: mx.example; dkim=pass\r\n" + REST)
    assert remove_claims(headers, (ME,)) == 1
    assert bytes(headers) == REST


@pytest.mark.parametrize(
    "value",
    [
        "",
        " foreign.example; dkim=pass header.d=mx.example",
        " foreign.example; none",
        " foreign.example 1; spf=pass smtp.mailfrom=user@mx.example",
        " smx.example; dkim=pass",
        " a.mx.example; dkim=pass",
        " mx.example.com; dkim=pass",
        " mx.example-a.com; dkim=pass",
        " mx-example; dkim=pass",
        " mx_example; dkim=pass",
        " mx.exampl\xe9; dkim=pass",
        " \u06a9\u200c\u0645.example; dkim=pass",
        ' "foreign;example"; x=y (mx.example)',
        " (a;b) foreign.example; mx.example",
        " \xe9.example; dkim=pass",
        " )a.example; dkim=pass header.d=mx.example",
        " xn--9999999999.example; dkim=pass",
        " spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=pass header.d=mx.example",
        f" {'x' * 500}; mx.example; dkim=pass",
    ],
)
def test_what_others_say_stays(value: str) -> None:
    assert stays(value)
    assert stays(value.replace(" ", "\r\n\t"))


@pytest.mark.parametrize(
    "value",
    [
        "xn--bcher-kva.example; dkim=pass",
        "XN--BCHER-KVA.Example; dkim=pass",
        "xn--bch\r\n er-kva.example; dkim=pass",
        "b\xfccher.example; dkim=pass",
        "B\xdcCHER.example; dkim=pass",
        "b\xfccher\u3002example.; dkim=pass",
    ],
)
def test_a_name_with_u_labels(value: str) -> None:
    assert not stays(value, "xn--bcher-kva.example")
    assert stays("bucher.example; dkim=pass", "xn--bcher-kva.example")
    assert stays(value)


@pytest.mark.parametrize(
    ("me", "value"),
    [
        ("[192.0.2.1]", '"[192.0.2.1]"; dkim=pass'),
        ("[192.0.2.1]", "192.0.2.1; dkim=pass"),
        ("2001:db8::1", '"2001:DB8::1"; dkim=pass'),
        ("a_b", "A_b; dkim=pass"),
        ("mx.example.", "mx.example; dkim=pass"),
        ("xn--strae-oqa.example", "stra\xdfe.example; dkim=pass"),
        ("strasse.example", "stra\xdfe.example; dkim=pass"),
        ("xn--9999999999.example", "XN--9999999999.example; dkim=pass"),
    ],
)
def test_names_of_another_form(me: str, value: str) -> None:
    assert not stays(value, me)


def test_all_our_names_are_looked_for() -> None:
    headers = Headers.parse(
        b"Authentication-Results: a.example; dkim=pass\r\n"
        b"Authentication-Results: foreign.example; dkim=pass\r\n"
        b"Authentication-Results: b.example; dkim=pass\r\n"
    )
    assert remove_claims(headers, ("b.example", "a.example")) == 2
    assert bytes(headers) == b"Authentication-Results: foreign.example; dkim=pass\r\n"


def test_nobody_has_so_many() -> None:
    field = b"Authentication-Results: a.example; none\r\n"
    headers = Headers.parse(field * (MOST_FIELDS + 3))
    assert remove_claims(headers, (ME,)) == 3
    assert bytes(headers) == field * MOST_FIELDS


# --- against readers of all kinds ---------------------------------------------------------------


def without_comments(text: str) -> str:
    kept, depth = "", 0
    for c in text:
        depth += c == "("
        kept += c if depth == 0 else ""
        depth -= c == ")" and depth > 0
    return kept


def strictly(text: str) -> str:
    return read(text)[0]


def first_word(text: str) -> str:
    return text.split()[0]


def before_the_first_semicolon(text: str) -> str:
    return text.partition(";")[0]


def first_that_is_something(text: str) -> str:
    return next(part for part in text.split(";") if part.strip())


def after_comments(text: str) -> str:
    return first_word(first_that_is_something(without_comments(text)))


def after_innermost_comments(text: str) -> str:
    return first_word(first_that_is_something(re.sub(r"\([^()]*\)", "", text)))


def first_that_looks_like_a_name(text: str) -> str:
    found = re.search(r"[\w-]+(?:\.[\w-]+)+", before_the_first_semicolon(text))
    assert found is not None
    return found[0]


def without_blanks(text: str) -> str:
    return re.sub(r"\s", "", before_the_first_semicolon(text))


def decoded(text: str) -> str:
    return after_comments(str(make_header(decode_header(text))))


READERS: list[Callable[[str], str]] = [
    strictly,
    first_word,
    before_the_first_semicolon,
    first_that_is_something,
    after_comments,
    after_innermost_comments,
    first_that_looks_like_a_name,
    without_blanks,
    decoded,
]


def reads_as_ours(reader: Callable[[str], str], value: str) -> bool:
    try:
        name = reader(value)
    except (AssertionError, IndexError, LookupError, StopIteration, ValueError):
        return False
    bare = re.sub(r"(?:\s+|/)1$|[\\\"'\x01]", "", name.strip())
    return bare.strip(" \t\r\n,.;()").lower() == ME


PIECES = st.one_of(
    st.sampled_from(["mx.example", "mx", "MX.", "example", "foreign.example", "x", "1", "/1", "="]),
    st.sampled_from([";", "(", ")", '"', "\\", " ", "\r\n ", ".", ",", "\x01", "(x)", "dkim=pass"]),
    st.sampled_from(["=?utf-8?q?", "mx=2Eexample", "?="]),
)


@given(value=st.lists(PIECES, max_size=9).map("".join))
def test_no_reader_takes_for_ours_what_stays(value: str) -> None:
    if stays(value):
        assert not [reader for reader in READERS if reads_as_ours(reader, value)]


@given(
    words=st.lists(st.sampled_from(["mx.example", "a@mx.example", "(", ";", '"', " "]), max_size=6),
    name=st.from_regex(r"[a-z]{1,9}\.(test|example\.com)", fullmatch=True),
)
def test_what_another_server_writes_stays(words: list[str], name: str) -> None:
    text = "".join(words)
    tx = a_transaction()
    tx.auth_results.append(AuthResult("spf", "fail", text, {"smtp.mailfrom": text}, text))
    assert stays(authentication_results(tx, name).value)
    assert not stays(authentication_results(tx, ME).value)
