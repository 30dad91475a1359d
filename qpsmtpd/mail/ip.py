# SPDX-License-Identifier: MIT
"""IP addresses, networks and endpoints in their canonical form."""

from __future__ import annotations

import functools
import ipaddress
import socket
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=4096)
def parse_ip(text: str) -> IPAddress:
    """The IP address that a text spells; IPv4-mapped IPv6 becomes IPv4.  Raises ValueError."""
    try:
        # Most are IPv4, and ipaddress takes nearly four times as long to read one.
        return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        return _parse_any(text)


def _parse_any(text: str) -> IPAddress:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def network_of(address: IPAddress, prefix: int) -> str:
    """The text of the network that has this address, with a prefix of `prefix` bits."""
    if address.version == 4:
        bits = 32 - prefix
        first = socket.inet_ntoa((int(address) >> bits << bits).to_bytes(4, "big"))
        return f"{first}/{prefix}"
    return str(ipaddress.ip_network((address, prefix), strict=False))


@functools.lru_cache(maxsize=4096)
def canonical_ip(text: str) -> str:
    """The text of an IP address in its canonical form, see `parse_ip`.  Raises ValueError."""
    return str(parse_ip(text))


# Frozen, it would take three times as long to make one.
@dataclass(slots=True, unsafe_hash=True)
class Endpoint:
    """An IP address in canonical text form (no ::ffff: prefix, no zone), and a port.

    Nobody changes it.
    """

    ip: str
    port: int = 0

    @property
    def literal(self) -> str:
        """The address as an address literal (RFC 5321 section 4.1.3)."""
        return f"[IPv6:{self.ip}]" if ":" in self.ip else f"[{self.ip}]"

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
