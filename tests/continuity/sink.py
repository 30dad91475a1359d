# SPDX-License-Identifier: MIT
"""A server behind the daemon, which takes every message and remembers its id."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from tests.continuity.stream import ids_in

_REPLIES = {b"DATA": b"354 Go ahead\r\n", b"QUIT": b"221 Bye\r\n"}


class Sink:
    """A server on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.delivered: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 next.example ESMTP\r\n")
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            writer.write(_REPLIES.get(verb, b"250 OK\r\n"))
            if verb == b"DATA":
                self.delivered += ids_in(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 Queued\r\n")
            if verb == b"QUIT":
                return
