# SPDX-License-Identifier: MIT
"""ip.py: IPv4 addresses go a short way, which leads to the same."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.ip import IPAddress, network_of, parse_ip


def by_the_book(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.lists(st.integers(0, 300).map(str), min_size=3, max_size=5).map(".".join),
        st.from_regex(r"[0-9a-f:.%x ]{0,20}", fullmatch=True),
        st.text(max_size=20),
    )
)
def test_addresses(text: str) -> None:
    try:
        parsed: IPAddress | None = parse_ip(text)
    except ValueError:
        parsed = None
    assert parsed == by_the_book(text)


@given(st.ip_addresses(), st.integers(0, 128))
def test_the_network_of_an_address(address: IPAddress, prefix: int) -> None:
    prefix = min(prefix, address.max_prefixlen)
    by_the_book = ipaddress.ip_network((address, prefix), strict=False)
    assert network_of(address, prefix) == str(by_the_book)


@pytest.mark.parametrize("text", ["1.2.3.4", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4%eth0"])
def test_an_address(text: str) -> None:
    assert parse_ip(text) == by_the_book(text) is not None


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.04", "1.2.3.4 ", "1.2.3.4\n", "1.2.3.4\0", "1.2.3.256", "0x1.2.3.4"],
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        parse_ip(text)
