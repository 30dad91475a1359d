# SPDX-License-Identifier: MIT
"""Addresses: when two listening programs are in each other's way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from qpsmtpd.config.runoptions import ListenAddress

#: All addresses of IPv4, and of IPv6.
ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 (nothing is bound)
_LOCALHOST = frozenset({"127.0.0.1", "::1"})


def hosts_of(host: str) -> frozenset[str]:
    """The addresses that a host stands for: "" means all; other names than localhost stay as is."""
    if not host:
        return ANY
    if host == "localhost":
        return _LOCALHOST
    try:
        return frozenset({str(ipaddress.ip_address(host.partition("%")[0]))})
    except ValueError:
        return frozenset({host.lower()})


def overlap(one: ListenAddress, other: ListenAddress) -> bool:
    """Whether two programs cannot listen on both at the same time."""
    if one.port != other.port:
        return False
    ours, theirs = hosts_of(one.host), hosts_of(other.host)
    return any(_same(a, b) for a in ours for b in theirs)


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    return _version(one) == _version(other) and bool({one, other} & ANY)


def _version(host: str) -> int:
    return 6 if ":" in host else 4


def is_loopback(host: str) -> bool:
    """Whether a host stands for loopback addresses only."""
    try:
        return all(ipaddress.ip_address(address).is_loopback for address in hosts_of(host))
    except ValueError:
        return False


def listed(addresses: Iterable[ListenAddress]) -> str:
    """The addresses in words."""
    return ", ".join(dict.fromkeys(map(str, addresses)))
