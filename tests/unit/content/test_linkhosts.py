# SPDX-License-Identifier: MIT
"""The hosts that links lead to, in every disguise."""

import ipaddress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.linkhosts import (
    parse_authority,
    parse_domain,
    parse_numbers,
    percent_decoded,
)

ADDRESS = ipaddress.ip_address("198.51.100.7")


@pytest.mark.parametrize(
    "text",
    [
        "spam.example",
        "SPAM.Example.",
        "spam.example:8080",
        "user:password@spam.example:80",
        "good.example@spam.example",
        "good.example%2F@spam.example",
        "sp%61m.example",
        "sp%2561m.example",
        "%73%70%61%6d%2e%65%78%61%6d%70%6c%65",
        "ｓｐａｍ．ｅｘａｍｐｌｅ",
        "spam。example",
        "sp\u00adam.exam\u200bple",
        "spam.example).",
        "spam.example,",
        "spam.example&x=y",
    ],
)
def test_one_domain(text: str) -> None:
    assert parse_authority(text) == ["spam.example"]


@pytest.mark.parametrize(
    "text", ["bücher.example", "BÜCHER.example", "b%C3%BCcher.example", "xn--bcher-kva.example"]
)
def test_internationalized_domains(text: str) -> None:
    assert parse_authority(text) == ["xn--bcher-kva.example"]


def test_text_that_follows_without_a_blank() -> None:
    assert "spam.example" in parse_authority("spam.example这里")


@pytest.mark.parametrize(
    "text",
    [
        "198.51.100.7",
        "3325256711",
        "0xc6336407",
        "0xC6.0x33.0x64.0x7",
        "0306.063.0144.07",
        "198.51.25607",
        "198.3367943",
        "0306.0x33.100.00007",
        "198.51.100.7:80",
        "user@198.51.100.7.",
        "%31%398.51.100.7",
        "１９８．５１．１００．７",
    ],
)
def test_one_address(text: str) -> None:
    assert parse_authority(text) == [ADDRESS]


def test_ipv6() -> None:
    assert parse_authority("[2001:db8::1]:80") == [ipaddress.ip_address("2001:db8::1")]
    assert parse_authority("[2001:db8::1") == [ipaddress.ip_address("2001:db8::1")]
    assert parse_authority("[nonsense]") == []


@pytest.mark.parametrize(
    "text", ["127.0.0.2", "0x7f.2", "10.1.2.3", "192.168.0.1", "[::1]", "169.254.1.1", "0"]
)
def test_hosts_near_the_reader_are_not_looked_up(text: str) -> None:
    """Lists have 127.0.0.2 as a test entry, so that such a link would be a listed one."""
    assert parse_authority(text) == []


@pytest.mark.parametrize("text", ["", "localhost", "1234", "1.2.3.4.5", "256.1.1.1", "08.1.1.1"])
def test_what_is_no_host(text: str) -> None:
    assert parse_authority(text) == []


@pytest.mark.parametrize("text", ["a.b.c", "com", "-", "a..com", "a.1", "a.com/", "x" * 300])
def test_what_is_no_domain(text: str) -> None:
    assert parse_domain(text) == ""


@given(st.integers(0, 2**32 - 1), st.sampled_from(["d", "#x", "#o"]))
def test_every_number_is_an_address(number: int, form: str) -> None:
    text = f"{number:{form}}".replace("0o", "0")
    if len(text) >= 7:
        assert parse_numbers(text) == ipaddress.IPv4Address(number)


@given(st.text(max_size=50))
def test_percent_encoding_is_undone(text: str) -> None:
    assert percent_decoded(quote(quote(text, safe=""), safe="")) == percent_decoded(text)


@given(st.text(st.sampled_from("ab.%@:[]0x1６。é-_8"), max_size=40))
def test_any_authority(text: str) -> None:
    for host in parse_authority(text):
        again = parse_authority(f"[{host}]" if ":" in str(host) else str(host))
        assert again == [host]
