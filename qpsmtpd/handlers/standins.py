# SPDX-License-Identifier: MIT
"""Stand-ins: what a handler's server has in place of a connection.

What is pushed is collected and becomes the reply; whoever reads a line (only AUTH may) makes the
core ask the client; `transport` knows the addresses and can be closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiosmtpd.proxy_protocol import ProxyData, get_proxy

from qpsmtpd.handlers.facts import SocketName


class PushedLines:
    """The writer: keeps what is pushed."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def write(self, data: bytes) -> None:
        """Keep a line of a reply."""
        self._lines.append(data.removesuffix(b"\r\n"))

    async def drain(self) -> None:
        """Nothing is on its way."""


class AskedClient:
    """The reader: whoever waits for a line turns what was pushed before into a challenge."""

    def __init__(self) -> None:
        #: Whether AUTH is under way: the core reads everything else itself.
        self.may_be_asked = False
        self._wanted = asyncio.Event()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def readline(self) -> bytes:
        """What the client answers to what was pushed."""
        if not self.may_be_asked:
            raise NotImplementedError("only AUTH can ask the client, in qpsmtpd")
        self._wanted.set()
        return await self._lines.get()

    async def waited_for(self) -> None:
        """Wait until somebody waits for a line."""
        await self._wanted.wait()

    def say(self, line: bytes) -> None:
        """Pass on what the client said."""
        self._wanted.clear()
        self._lines.put_nowait(line)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the reader has no {name} in qpsmtpd: use server.challenge_auth")


class ClosableTransport:
    """The transport: it knows the addresses and can be closed, after the reply."""

    def __init__(self) -> None:
        self.info: Mapping[str, Any] = {}
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The addresses, and what `session.ssl` has of TLS."""
        return self.info.get(name, default)

    def is_closing(self) -> bool:
        """Whether the handler has closed it."""
        return self._closing

    def close(self) -> None:
        """End the connection after the reply."""
        self._closing = True

    abort = close

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"transport.{name}: the connection belongs to qpsmtpd; a handler has get_extra_info, "
            "is_closing and close"
        )


async def proxy_data(client: SocketName, local: SocketName) -> ProxyData:
    """What aiosmtpd reads from a PROXY header that names these two (version 1)."""
    family = "TCP6" if ":" in client[0] else "TCP4"
    header = f"PROXY {family} {client[0]} {local[0]} {client[1]} {local[1]}\r\n"
    reader = asyncio.StreamReader()
    reader.feed_data(header.encode("ascii"))
    return await get_proxy(reader)
