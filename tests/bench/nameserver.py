# SPDX-License-Identifier: MIT
"""The name server of the benchmark: knows no name, and says so fast, or late for block lists.

tests/dns_server.py answers from records; this one only has to be no bottleneck.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

ADDRESS = ("127.0.0.1", 53)
#: Answers about names below this domain come late.
SLOW_DOMAIN = "slow.test"
DELAY = 0.02  # seconds

_SLOW = b"\x04slow\x04test\x00"
_NXDOMAIN = b"\x81\x83"  # a response, recursion available (RFC 1035 section 4.1.1)
_COUNTS = b"\x00\x01\x00\x00\x00\x01\x00\x00"  # one question, one record of the authority
# The root's SOA; names that are not there are believed not to be there for 60 seconds.
_SOA = b"\x00\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x16\x00\x00" + b"\x00\x00\x00\x3c" * 5


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with NXDOMAIN."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        answer = no_such_name(data)
        if is_slow(data):
            loop = asyncio.get_running_loop()
            loop.call_later(DELAY, self._transport.sendto, answer, addr)
        else:
            self._transport.sendto(answer, addr)


def no_such_name(query: bytes) -> bytes:
    """The answer to a query of one question: NXDOMAIN."""
    return query[:2] + _NXDOMAIN + _COUNTS + query[12 : _end_of_question(query)] + _SOA


def is_slow(query: bytes) -> bool:
    """Whether the question is about a name below SLOW_DOMAIN."""
    return query[12 : _end_of_question(query) - 4].lower().endswith(_SLOW)


def _end_of_question(query: bytes) -> int:
    """Where the question ends; what follows may be EDNS options."""
    at = 12
    while query[at]:
        at += 1 + query[at]
    return at + 1 + 4


@asynccontextmanager
async def name_server() -> AsyncIterator[None]:
    """Answer at ADDRESS meanwhile."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, local_addr=ADDRESS)
    try:
        yield
    finally:
        transport.close()
