# SPDX-License-Identifier: MIT
"""Which names of clients look as if a provider had made them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import looks_dynamic, parse_ip


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        ("host-192-0-2-7.example.net", "192.0.2.7"),
        ("7.2.0.192.example.net", "192.0.2.7"),
        ("192.000.002.007.example.net", "192.0.2.7"),
        ("ip192000002007.example.net", "192.0.2.7"),
        ("c0000207.example.net", "192.0.2.7"),
        ("pc7-2.Dyn.example.net", "192.0.9.9"),
        ("x.adsl.example.net.", "192.0.9.9"),
        ("pool12.example.net", "192.0.9.9"),
        ("p20010db8000000000000a1b2c3d4e5f6.example.net", "2001:db8::a1b2:c3d4:e5f6"),
        ("a1b2-c3d4-e5f6.example.net", "2001:db8::a1b2:c3d4:e5f6"),
    ],
)
def test_names_of_many(name: str, ip: str) -> None:
    assert looks_dynamic(name, parse_ip(ip))


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        ("mx.example.net", "192.0.2.7"),
        ("mx2-7.out.example.net", "192.0.2.9"),
        ("mail7.example.net", "192.0.2.7"),
        ("static-192-0-2-7.example.net", "192.0.2.7"),
        ("mx.pool.example", "192.0.2.7"),
        ("dynamic.example", "192.0.2.7"),
        ("carpool.mx.example.net", "192.0.2.7"),
        ("mx.example.net", "2001:db8::1"),
        ("", "192.0.2.7"),
    ],
)
def test_names_of_servers(name: str, ip: str) -> None:
    assert not looks_dynamic(name, parse_ip(ip))


@given(st.text(max_size=255), st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_any_text_has_an_answer(name: str, address: object) -> None:
    assert looks_dynamic(name, parse_ip(str(address))) in (True, False)


@given(st.ip_addresses(v=4))
def test_a_name_made_of_the_address_is_noticed(address: object) -> None:
    name = f"h-{str(address).replace('.', '-')}.example.net"
    assert looks_dynamic(name, parse_ip(str(address)))
