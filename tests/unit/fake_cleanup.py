# SPDX-License-Identifier: MIT
"""A cleanup(8) for tests: decodes what a client sends and answers as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.stream_server import port_of, stream_server

QUEUE_ID = "3BF6E1BC051"


def attributes(**pairs: str | int) -> bytes:
    """A group of attributes."""
    return b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"


@dataclass
class FakeCleanup:
    """hello, answer: what is sent first and last.  leave: close in place of the answer."""

    hello: bytes = attributes(protocol="cleanup_protocol", queue_id=QUEUE_ID)
    answer: bytes = attributes(status=0, reason="")
    leave: bool = False
    silent: bool = False
    flags: int = -1
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one message."""
        self.connections += 1
        if self.silent:
            await reader.read()
        writer.write(self.hello)
        await self._read(reader)
        if not self.leave:
            writer.write(self.answer)
            await writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        flags = (await reader.readexactly(6), await reader.readuntil(b"\0"))
        assert flags[0] == b"flags\0"
        self.flags = int(flags[1][:-1])
        assert await reader.readexactly(1) == b"\0"
        while not self.records or self.records[-1][0] != b"E":
            kind = await reader.readexactly(1)
            length = shift = 0
            while True:
                (digit,) = await reader.readexactly(1)
                length |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    break
            self.records.append((kind, await reader.readexactly(length)))

    def values(self, kind: bytes) -> list[bytes]:
        """The data of all records of a kind before the content."""
        end = self.records.index((b"M", b""))
        return [data for k, data in self.records[:end] if k == kind]

    @property
    def content(self) -> bytes:
        """The message, CRLF line ends."""
        start = self.records.index((b"M", b"")) + 1
        end = self.records.index((b"X", b""))
        return b"".join(
            data + (b"\r\n" if kind == b"N" else b"") for kind, data in self.records[start:end]
        )


@contextlib.asynccontextmanager
async def listening(fake: FakeCleanup, path: Path) -> AsyncIterator[str]:
    """A unix socket that the fake serves."""
    async with stream_server(fake.serve, path):
        yield str(path)


@contextlib.asynccontextmanager
async def listening_tcp(fake: FakeCleanup) -> AsyncIterator[str]:
    """A TCP port that the fake serves."""
    async with stream_server(fake.serve) as server:
        yield f"127.0.0.1:{port_of(server)}"
