# SPDX-License-Identifier: MIT
"""Addresses, domains and patterns are found; lines that are none of them are errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, parse_forward_path
from qpsmtpd.lists.addresses import AddressList, AddressSet, Listed
from qpsmtpd.mail.address import Address
from qpsmtpd.plugin.services import Entry


def find(line: str, address: str) -> Listed | None:
    return AddressList([Entry(line, "bad:1")]).find(parse_forward_path(f"<{address}>", utf8=True))


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("user@example.com", "user@example.com"),
        ("User@Example.com", "uSER@exAMPLE.com"),
        ("@Example.com", "anyone@example.COM"),
        ("example.com$", "user@example.com"),
        ("EXAMPLE\\.com$", "user@sub.example.com"),
        ("^bounce", "bounce-1@example.com"),
        ("/^b.unce/", "bounce-1@example.com"),
        ("user+tag@example.com", "user+tag@example.com"),
        ("100%@example.com", "100%@example.com"),
        ("us+er@example.com", "ussser@example.com"),
        ("user@example.com.", "user@example.com"),
        ("user@bücher.example", "user@xn--bcher-kva.example"),
        ("user@xn--bcher-kva.example", "user@BÜCHER.example"),
        ("u+x@xn--bcher-kva.example", "u+x@BÜCHER.example"),
        ("@bu\u0308cher.example", "user@XN--BCHER-KVA.example"),
        ("@[IPv6:2001:DB8:0::1]", "user@[ipv6:2001:db8::1]"),
        (r"@bücher\.example$", "user@xn--bcher-kva.example"),
        (r"@xn--bcher-kva\.example$", "user@bücher.example"),
        ("\xe9@example.com", "E\u0301@example.com"),
        ('"a.b"@example.com', "A.B@example.com"),
        ("%", "user％other.example@example.com"),
        ("@.*@", "user＠other.example@example.com"),
    ],
)
def test_found(line: str, address: str) -> None:
    assert find(line, address) == Listed(line, "")


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("user@example.com", "user@example.org"),
        ("user@example.com", "a.user@example.com"),
        ("@example.com", "user@sub.example.com"),
        ("@example.com", "user@notexample.com"),
        ("example.not$", "user@example.com"),
        ("^ounce", "bounce@example.com"),
        ("user@example.com", "postmaster"),
        ("^postmaster", "postmaster"),
        ("@strasse.example", "user@straße.example"),
        ("@straße.example", "user@strasse.example"),
    ],
)
def test_not_found(line: str, address: str) -> None:
    assert find(line, address) is None


def test_reasons() -> None:
    assert find("a@b.c \t go  away ", "a@b.c") == Listed("a@b.c", "go  away")
    assert find("a@b.c\tgo away", "a@b.c") == Listed("a@b.c", "go away")


def test_exact_lines_come_before_patterns_and_the_first_counts() -> None:
    lines = ["b.c$ pattern", "a@b.c first", "a@b.c second", "@b.c domain", "@b.c again"]
    listed = AddressList(Entry(line) for line in lines)
    assert listed.find(Address("a", "b.c")) == Listed("a@b.c", "first")
    assert listed.find(Address("x", "b.c")) == Listed("@b.c", "domain")
    assert listed.find(Address("x", "z.b.c")) == Listed("b.c$", "pattern")


@pytest.mark.parametrize("line", ["example.com", "(unclosed/", "*@example.com", "[[:^alpha:]]", ""])
def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError, match="bad:7: "):
        AddressList([Entry("good@example.com", "bad:1"), Entry(line, "bad:7")])


@given(st.text())
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        AddressList([Entry(line, "bad:1")]).find(Address("user", "example.com"))
    except ConfigError as error:
        assert error.where == "bad:1"


ADMITTED = [
    "Friend@Example.com.",
    "good.example",
    "@also.example",
    "bücher.example",
    "a+b@c.example",
]


@pytest.mark.parametrize(
    "address",
    [
        "friend@EXAMPLE.com",
        "any@Good.example",
        "any@also.example",
        "any@xn--bcher-kva.example",
        "any@BÜCHER.example",
        "A+B@c.example",
        "wow!@good.example",
    ],
)
def test_admitted(address: str) -> None:
    admitted = AddressSet(map(Entry, ADMITTED))
    assert parse_forward_path(f"<{address}>", utf8=True) in admitted


@pytest.mark.parametrize(
    "address",
    [
        "foe@example.com",
        "any@sub.good.example",
        "postmaster",
        "aab@c.example",
        "any@buecher.example",
        "x%other.example@good.example",
        "x％other.example@good.example",
        "other.example!x@good.example",
    ],
)
def test_not_admitted(address: str) -> None:
    admitted = AddressSet(map(Entry, [*ADMITTED, "postmaster"]))
    assert parse_forward_path(f"<{address}>", utf8=True) not in admitted


def test_a_route_that_is_listed_itself_is_admitted() -> None:
    assert Address("a%b", "c") in AddressSet([Entry("A%b@C.")])
