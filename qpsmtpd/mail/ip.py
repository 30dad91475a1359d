# SPDX-License-Identifier: MIT
"""IP addresses, networks and endpoints in their canonical form."""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=4096)
def parse_ip(text: str) -> IPAddress:
    """The IP address that a text spells; IPv4-mapped IPv6 becomes IPv4.  Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@functools.lru_cache(maxsize=4096)
def canonical_ip(text: str) -> str:
    """The text of an IP address in its canonical form, see `parse_ip`.  Raises ValueError."""
    return str(parse_ip(text))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address in canonical text form (no ::ffff: prefix, no zone), and a port."""

    ip: str
    port: int = 0

    @property
    def literal(self) -> str:
        """The address as an address literal (RFC 5321 section 4.1.3)."""
        return f"[IPv6:{self.ip}]" if ":" in self.ip else f"[{self.ip}]"

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
