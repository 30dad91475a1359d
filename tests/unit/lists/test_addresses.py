# SPDX-License-Identifier: MIT
"""Addresses, domains and patterns are found; lines that are none of them are errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, parse_forward_path
from qpsmtpd.lists.addresses import AddressList, Listed
from qpsmtpd.mail.address import Address
from qpsmtpd.plugin.services import Entry


def find(line: str, address: str) -> Listed | None:
    return AddressList([Entry(line, "bad:1")]).find(parse_forward_path(f"<{address}>"))


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


@pytest.mark.parametrize("line", ["example.com", "(unclosed/", "*@example.com", "[[:alpha:]]+", ""])
def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError, match="bad:7: "):
        AddressList([Entry("good@example.com", "bad:1"), Entry(line, "bad:7")])


@given(st.text())
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        AddressList([Entry(line, "bad:1")]).find(Address("user", "example.com"))
    except ConfigError as error:
        assert error.where == "bad:1"
