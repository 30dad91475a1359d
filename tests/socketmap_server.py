# SPDX-License-Identifier: MIT
"""SocketmapServer: a server of Postfix's socketmap protocol with a table in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.stream_server import port_of, stream_server


@dataclass
class SocketmapServer:
    """`asked` is what it was asked; `instead`, if there is any, is what it says to everything."""

    table: Mapping[str, str]
    place: str = ""
    instead: str = ""
    asked: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = await reader.readuntil(b":")
            request = (await reader.readexactly(int(length[:-1]) + 1))[:-1].decode()
            self.asked.append(request)
            reply = (self.instead or self._reply(request.partition(" ")[2])).encode()
            writer.write(b"%d:%s," % (len(reply), reply))
            await writer.drain()

    def _reply(self, key: str) -> str:
        return f"OK {self.table[key]}" if key in self.table else "NOTFOUND "


@asynccontextmanager
async def socketmap_server(
    table: Mapping[str, str], *, path: Path | None = None
) -> AsyncIterator[SocketmapServer]:
    """A server on loopback, or on this socket, until the end of the block."""
    fake = SocketmapServer(table)
    async with stream_server(fake.talk, path) as server:
        fake.place = str(path) if path else f"127.0.0.1:{port_of(server)}"
        yield fake
