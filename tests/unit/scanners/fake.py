# SPDX-License-Identifier: MIT
"""FakeScanner: a scanner on loopback or a unix socket that answers, or misbehaves, as told.

    async with fake_scanner(spamd_request, OK, SILENT) as scanner:
        ... scanner.place, scanner.requests

Each connection gets the next of the answers, and the last of them for ever.  An answer is octets,
after which the connection is closed; SILENT, to say nothing until the client leaves; DROP, to close
when the request has come; RESET, to close after its first octets; or an Endless.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.stream_server import port_of, stream_server

SILENT = "silent"
DROP = "drop"
RESET = "reset"


@dataclass(frozen=True)
class Endless:
    """Octets that are sent over and over again."""

    octets: bytes


@dataclass(frozen=True)
class Early:
    """An answer that comes after the first octets of the request; the rest is not read."""

    octets: bytes


Answer = bytes | str | Endless | Early
IsComplete = Callable[[bytes], bool]


@dataclass
class FakeScanner:
    """What it is asked; `wishes` are the answers that are left, `place` is where it listens."""

    is_complete: IsComplete
    wishes: list[Answer]
    place: str = ""
    requests: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.wishes.pop(0) if len(self.wishes) > 1 else self.wishes[0]
        request = b""
        early = isinstance(answer, Early) or answer == RESET
        while not self.is_complete(request) and not (early and request):
            octets = await reader.read(65536)
            if not octets:
                break
            request += octets
        self.requests.append(request)
        if answer == RESET:
            writer.transport.abort()
        elif isinstance(answer, Endless):
            while True:
                writer.write(answer.octets)
                await writer.drain()
        elif isinstance(answer, bytes | Early):
            writer.write(answer if isinstance(answer, bytes) else answer.octets)
            await writer.drain()
        if answer == SILENT or early:
            while await reader.read(65536):
                pass
            self.left.set()


@asynccontextmanager
async def fake_scanner(
    is_complete: IsComplete, *answers: Answer, path: Path | None = None
) -> AsyncIterator[FakeScanner]:
    """A scanner that is there until the end of the block."""
    scanner = FakeScanner(is_complete, list(answers))
    async with stream_server(scanner.talk, path) as server:
        scanner.place = str(path) if path else f"127.0.0.1:{port_of(server)}"
        yield scanner


#: What no scanner says on purpose, whatever its protocol is.
NONSENSE: tuple[Answer, ...] = (
    SILENT,
    DROP,
    RESET,
    b"\n",
    b"\0",
    b"220 mx.example ESMTP\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"x" * 70_000,
    Endless(b"x" * 65536),
    Endless(b"x: y\r\n" * 10_000),
    Early(b"-ERR\r\n"),
)


def with_content_length(request: bytes) -> bool:
    """Whether a request is there whose head says how long its content is."""
    head, end, content = request.partition(b"\r\n\r\n")
    found = re.search(rb"^Content-length: (\d+)", head, re.MULTILINE | re.IGNORECASE)
    return bool(end) and len(content) >= (int(found[1]) if found else 0)
