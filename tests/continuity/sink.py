# SPDX-License-Identifier: MIT
"""A server behind the daemon, which takes every message and remembers its id."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from tests.continuity.stream import ids_in
from tests.stream_server import port_of, stream_server

_DOWN = b"421 4.3.2 Down\r\n"
_REPLIES = {b"DATA": b"354 Go ahead\r\n", b"QUIT": b"221 Bye\r\n"}


class Sink:
    """A server on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.port = 0
        #: It says so, and takes nothing; a message that has begun is taken.
        self.down = False

    async def __aenter__(self) -> Self:
        self._server = stream_server(self._talk, limit=1 << 20)
        self.port = port_of(await self._server.__aenter__())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_DOWN if self.down else b"220 next.example ESMTP\r\n")
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if self.down:
                writer.write(_DOWN)
                return
            writer.write(_REPLIES.get(verb, b"250 OK\r\n"))
            if verb == b"DATA":
                self.delivered += ids_in(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 Queued\r\n")
            if verb == b"QUIT":
                return
