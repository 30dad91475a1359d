# SPDX-License-Identifier: MIT
"""Domains are found in any spelling, and names of HELO."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.domains import DomainList, HelloList
from qpsmtpd.plugin.services import Entry


def entries(*lines: str) -> list[Entry]:
    return [Entry(line, f"file:{number}") for number, line in enumerate(lines, start=1)]


def hellos(*lines: str, patterns: bool = True) -> HelloList:
    return HelloList(entries(*lines), patterns=patterns)


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        ("Example.com", "example.COM"),
        ("example.com.", "example.com"),
        ("example.com", "example.com."),
        ("bücher.example", "XN--BCHER-KVA.example"),
        ("xn--bcher-kva.example", "BÜCHER.example"),
        ("bu\u0308cher.example", "bücher.example"),
        ("straße.example", "xn--strae-oqa.example"),
        (".example.com", "a.example.com"),
        (".Example.com", "a.b.example.com."),
        (".bücher.example", "a.xn--bcher-kva.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]"),
        ("-odd-.example", "-odd-.example"),
    ],
)
def test_found(line: str, domain: str) -> None:
    assert domain in DomainList(entries("other.example", line))


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        ("example.com", "a.example.com"),
        ("example.com", "example.com.evil.test"),
        (".example.com", "example.com"),
        (".example.com", "notexample.com"),
        ("straße.example", "strasse.example"),
        ("strasse.example", "straße.example"),
        ("bücher.example", "buecher.example"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("example.com", ""),
    ],
)
def test_not_found(line: str, domain: str) -> None:
    assert domain not in DomainList(entries(line))


def test_further_domains() -> None:
    listed = DomainList(
        (), also=["MX.example", ""], database={b"a.test": b"", "ä.test".encode(): b""}
    )
    for domain in ("mx.example", "A.test", "Ä.test", "xn--4ca.test"):
        assert domain in listed
    for domain in ("x.a.test", "b.test", "\ud800.test"):
        assert domain not in listed


@pytest.mark.parametrize("line", ["", ".", "*.example.com", "user@example.com", "a b", "..x"])
def test_what_is_not_a_domain_is_an_error(line: str) -> None:
    with pytest.raises(ConfigError, match=r"file:2: .* is not a domain"):
        DomainList(entries("good.example", line))


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("Yahoo.com", "yahoo.COM."),
        ("friend", "FRIEND"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "ＢÜＣＨＥＲ．ｅｘａｍｐｌｅ"),
        (r"^ya.oo\.", "yahoo.example"),
        (r"bücher\.example$", "mx.XN--BCHER-KVA.example"),
        (r"\.$", "mx.example."),
        (r"!\.", "friend."),
        (r"!bücher", "mx.example"),
    ],
)
def test_hellos(line: str, host: str) -> None:
    assert host in hellos(line)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("yahoo.com", "mx.yahoo.com"),
        (r"^ya.oo\.", "mx.yahoo.example"),
        (r"!\.", "mx.example"),
        (r"!^[a-z.]+$", "MX.example."),
        (r"!bücher", "xn--bcher-kva.example"),
    ],
)
def test_other_hellos(line: str, host: str) -> None:
    assert host not in hellos(line)


def test_without_patterns_every_line_is_a_name() -> None:
    listed = hellos("m.x", "(", "!x", "[192.0.2.1]", patterns=False)
    for host in ("M.X.", "(", "!X", "[192.0.2.1]"):
        assert host in listed
    for host in ("mix", "192.0.2.1", "x"):
        assert host not in listed


def test_a_wrong_expression() -> None:
    with pytest.raises(ConfigError, match=r"file:2: .* is not a regular expression"):
        hellos("good.example", "(")


@given(st.text(), st.text(), st.booleans())
def test_any_text(line: str, host: str, patterns: bool) -> None:
    try:
        assert (host in hellos(line, patterns=patterns)) in (True, False)
        assert line in DomainList(entries(line)) or line.startswith(".")
    except ConfigError as error:
        assert error.where == "file:1"
