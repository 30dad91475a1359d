# SPDX-License-Identifier: MIT
"""The addresses of clients that nobody has seen before: the network for benchmarks (RFC 2544).

Not 127.0.0.0/8: there are servers that look up nothing for clients of their own machine.
"""

from __future__ import annotations

NETMASK = "255.254.0.0"
#: The machine's own address in that network; no client has it.
OWN = "198.18.255.254"
#: The first octets of addresses that have no name, and of those that have one.
NAMELESS, NAMED = "198.18", "198.19"
#: How many clients there are of each kind.
STRANGERS = 256 * 250


def source_address(number: int, network: str = NAMELESS) -> str:
    """The address of a client; `network` is the first two octets.  Raises ValueError."""
    if number >= STRANGERS:
        raise ValueError(f"there are only {STRANGERS} strangers")
    return f"{network}.{number // 250}.{1 + number % 250}"
