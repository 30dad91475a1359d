# SPDX-License-Identifier: MIT
"""Addresses: what is in the way of what."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.runoptions import ListenAddress, parse_listen
from qpsmtpd.doctor.overlaps import is_loopback, listed, overlap


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ("0.0.0.0:25", "127.0.0.2:25", True),
        ("127.0.0.1:25", "127.0.0.2:25", False),
        ("0.0.0.0:25", "[::1]:25", False),
        ("[::]:25", "[::1]:25", True),
        ("[::]:25", "127.0.0.1:25", False),
        (":25", "127.0.0.1:25", True),
        (":25", "[::1]:25", True),
        (":25", ":587", False),
        ("[0:0::1]:25", "[::1]:25", True),
        ("localhost:25", "127.0.0.1:25", True),
        ("mx.example:25", "127.0.0.1:25", False),
        ("mx.example:25", "MX.example:25", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(parse_listen(one), parse_listen(other)) is expected
    assert overlap(parse_listen(other), parse_listen(one)) is expected


@given(st.ip_addresses(), st.ip_addresses())
def test_single_addresses_overlap_when_they_are_the_same(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not one.is_unspecified and not other.is_unspecified:
        pair = ListenAddress(str(one), 25), ListenAddress(str(other), 25)
        assert overlap(*pair) == (one == other)
        assert overlap(pair[0], pair[0])


def test_the_kernel_agrees() -> None:
    """Two sockets that listen on overlapping addresses are refused."""
    with socket.socket() as every, socket.socket() as one:
        every.bind(("0.0.0.0", 0))
        every.listen()
        with pytest.raises(OSError, match="in use"):
            one.bind(("127.0.0.2", every.getsockname()[1]))


@pytest.mark.parametrize(
    "host, expected",
    [("127.0.0.9", True), ("::1", True), ("localhost", True), ("", False), ("x.example", False)],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_listed() -> None:
    addresses = [parse_listen(text) for text in (":25", "[::1]:25", ":25")]
    assert listed(addresses) == "*:25, [::1]:25"
