# SPDX-License-Identifier: MIT
"""SPF records: what is one, and its grammar (RFC 7208 sections 4.5 to 6 and 12)."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mailauth import spfrecord
from qpsmtpd.mailauth.spfmacro import SpfSyntaxError
from qpsmtpd.mailauth.spfrecord import (
    MAX_REMEMBERED,
    Network,
    Networks,
    is_spf_record,
    parse_record,
)


@pytest.mark.parametrize("text", ["v=spf1", "v=spf1 -all", "V=SpF1 a", "v=spf1  ", "v=spf1 é"])
def test_spf_records(text: str) -> None:
    assert is_spf_record(text)


@pytest.mark.parametrize(
    "text", ["", "v=spf10 -all", "v=spf1\t-all", " v=spf1", "v=spf2.0/pra", "é"]
)
def test_other_records(text: str) -> None:
    assert not is_spf_record(text)


def test_a_record() -> None:
    record = parse_record("v=spf1 a  -MX:b.example/24//64 ?ip4:192.0.2.7/24 ~all exp=e.example ")
    a, mx, networks, all_ = record.steps
    assert isinstance(networks, Networks)
    assert not isinstance(a, Networks)
    assert not isinstance(mx, Networks)
    assert not isinstance(all_, Networks)
    assert (a.text, a.name, a.result, a.target) == ("a", "a", "pass", None)
    assert (mx.name, mx.result, mx.prefix4, mx.prefix6) == ("mx", "fail", 24, 64)
    assert mx.target is not None and mx.target.fixed == "b.example"
    ip4 = networks.first_with(4, 0xC0000209)
    assert ip4 is not None
    assert (ip4.result, ip4.network) == ("neutral", Network(4, 8, 0xC00002))
    assert (all_.name, all_.result) == ("all", "softfail")
    assert record.redirect is None
    assert record.explanation is not None and record.explanation.fixed == "e.example"


def first_with(terms: str, ip: str) -> str:
    """The first mechanism of a record of networks alone that has an address."""
    [networks] = parse_record(f"v=spf1 {terms}").steps
    assert isinstance(networks, Networks)
    address = ip_address(ip)
    found = networks.first_with(address.version, int(address))
    return "" if found is None else found.text


@pytest.mark.parametrize(
    ("ip", "first"),
    [
        ("192.0.2.7", "-ip4:192.0.2.7"),
        ("192.0.2.8", "ip4:192.0.2.9/24"),
        ("192.0.3.1", "?ip4:1.1.1.1/0"),
        ("::c000:207", ""),
        ("2001:db8::1", "ip6:2001:db8::/32"),
        ("2001:db9::", ""),
    ],
)
def test_networks(ip: str, first: str) -> None:
    terms = "-ip4:192.0.2.7 ip4:192.0.2.9/24 ip4:192.0.2.7 ip6:2001:db8::/32 ?ip4:1.1.1.1/0"
    assert first_with(terms, ip) == first


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(27, 32)), min_size=1, max_size=12),
    st.integers(0, 15),
)
def test_looking_up_is_trying_in_turn(networks: list[tuple[int, int]], host: int) -> None:
    terms = [f"ip4:192.0.2.{number}/{length}" for number, length in networks]
    ip = ip_address(f"192.0.2.{host}")
    tried = [term for term in terms if ip in ip_network(term.removeprefix("ip4:"), strict=False)]
    assert first_with(" ".join(terms), str(ip)) == (tried[0] if tried else "")


def test_others_keep_their_place() -> None:
    steps = parse_record("v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 a ip4:192.0.2.3 -all").steps
    assert [isinstance(step, Networks) for step in steps] == [True, False, True, False]


@pytest.mark.parametrize(
    "terms",
    [
        "",
        "all all",
        "a/0",
        "a//0",
        "a/32//128",
        "a:b.example/8",
        "ip6:::1",
        "ip6:::ffff:192.0.2.1/128",
        "x.y-z_=",
        "a=b",
        "exists:%{i}.b.example",
        "redirect=%{d2}",
        "ptr",
        "ptr:b.example",
        "x= x=",
        "EXP=b.example",
        "a:a/b.example/24",
    ],
)
def test_right_terms(terms: str) -> None:
    parse_record(f"v=spf1 {terms}")


@pytest.mark.parametrize(
    "term",
    [
        "foo",
        "all.",
        "all:b.example",
        "all/8",
        "-",
        "--all",
        "!all",
        "=x",
        "1x=y",
        "x.y:z=a",
        "-x=y",
        "a:",
        "a:/24",
        "a/33",
        "a/024",
        "a/",
        "a//129",
        "a/24/24",
        "a//24/24",
        "a/24\n",
        "a/-1",
        "a/1000",
        "mx:",
        "mx:b",
        "ip4",
        "ip4:",
        "ip4:192.0.2",
        "ip4:192.0.02.1",
        "ip4:192.0.2.1/33",
        "ip4:192.0.2.1/",
        "ip4:192.0.2.1//32",
        "ip4/24",
        "ip4:2001:db8::1",
        "ip4:192.0.2.1/08",
        "ip6:192.0.2.1",
        "ip6:2001:db8::1%1",
        "ip6:::1/129",
        "ip4:\x00",
        "ip6:x",
        "ip6:",
        "include",
        "include:",
        "include:b.example/24",
        "exists",
        "exists:",
        "ptr/8",
        "ptr:",
        "ptr:b",
        "redirect=",
        "exp=",
        "redirect=b",
        "redirect:b.example",
        "x=%",
        "x=a\x01",
        "\x80a",
        "all\r",
        "redirect=b.example redirect=b.example",
        "exp=b.example Exp=c.example",
    ],
)
def test_wrong_terms(term: str) -> None:
    with pytest.raises(SpfSyntaxError):
        parse_record(f"v=spf1 +all {term}")


def test_a_mistake_is_named() -> None:
    with pytest.raises(SpfSyntaxError, match="'ip5:1' is not a mechanism or modifier"):
        parse_record("v=spf1 +all ip5:1")


def test_long_records_are_not_remembered() -> None:
    spfrecord._remembered.cache_clear()
    parse_record("v=spf1 " + "a " * MAX_REMEMBERED)
    assert spfrecord._remembered.cache_info().currsize == 0
    assert parse_record("v=spf1 a") is parse_record("v=spf1 a")


def test_a_record_is_ascii() -> None:
    with pytest.raises(SpfSyntaxError, match="not ASCII"):
        parse_record("v=spf1 a:b\xfccher.example all")
