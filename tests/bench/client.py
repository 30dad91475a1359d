# SPDX-License-Identifier: MIT
"""SMTP clients that look at the clock, and take as little of the machine as they can."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, cast

PATIENCE = 120.0  # seconds for one client, from connect to the final reply
SENDER, RECIPIENT = "client@example.org", "user@example.test"
LINE = b"X" * 78 + b"\r\n"
EHLO = b"EHLO client.example.org\r\n"


class RefusedError(Exception):
    """The server answered something else than it should, or went away; the text is what it said."""


@dataclass(frozen=True)
class Visit:
    """What one client saw, in seconds since it began to connect."""

    greeted: float
    finished: float


def mail_from(sender: str) -> bytes:
    """The command that names the sender."""
    return f"MAIL FROM:<{sender}>\r\n".encode()


def rcpt_to(recipient: str) -> bytes:
    """The command that names a recipient."""
    return f"RCPT TO:<{recipient}>\r\n".encode()


def a_message(size: int) -> bytes:
    """A message of about this many bytes, with its final dot."""
    header = f"From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: benchmark\r\n\r\n".encode()
    return header + LINE * max(1, (size - len(header)) // len(LINE)) + b".\r\n"


async def visit(port: int, message: bytes, source: str = "127.0.0.1") -> Visit:
    """Connect from this address, send one message, quit.  Raises RefusedError."""
    started = time.perf_counter()
    async with Client.connected(port, source) as client:
        greeted = time.perf_counter()
        await client.ask(EHLO, b"250")
        await client.ask(mail_from(SENDER), b"250")
        await client.ask(rcpt_to(RECIPIENT), b"250")
        await client.ask(b"DATA\r\n", b"354")
        await client.ask(message, b"250")
        finished = time.perf_counter()
        await client.ask(b"QUIT\r\n", b"221")
    return Visit(greeted - started, finished - started)


class Client(asyncio.Protocol):
    """A connection; one command at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._lost = False
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int, source: str = "127.0.0.1") -> AsyncIterator[Self]:
        """A connection that has been greeted.  Raises RefusedError, and for what it is used, too.

        PATIENCE is for all of it.
        """
        client = cls()
        try:
            async with asyncio.timeout(PATIENCE):
                loop = asyncio.get_running_loop()
                await loop.create_connection(
                    lambda: client, "127.0.0.1", port, local_addr=(source, 0)
                )
                await client.expect(b"220")
                yield client
        except (OSError, TimeoutError) as error:
            raise RefusedError(f"{type(error).__name__} {error}".strip()) from None
        finally:
            client.close()

    async def ask(self, command: bytes, code: bytes) -> None:
        """Send a command; the reply to it must have this code.  Raises RefusedError."""
        self._transport.write(command)
        await self.expect(code)

    async def expect(self, code: bytes) -> None:
        """Wait for a whole reply with this code.  Raises RefusedError when it has another one."""
        while not (reply := self._received) or not is_complete(reply):
            if self._lost:
                raise RefusedError("connection closed")
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        self._received = b""
        if not reply.startswith(code):
            raise RefusedError(reply.decode("ascii", "replace").strip())

    def close(self) -> None:
        """Leave, at once."""
        if not self._lost and hasattr(self, "_transport"):
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it: uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def is_complete(reply: bytes) -> bool:
    """Whether a reply has its last line (RFC 5321 section 4.2.1)."""
    last = reply.rstrip(b"\r\n").rpartition(b"\n")[2]
    return reply.endswith(b"\n") and last[3:4] != b"-"


class Prober:
    """Visits while others load the server, and notes how long it takes."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._message = a_message(size)
        self.visits: list[Visit] = []

    @asynccontextmanager
    async def probing(self, clients: int, pause: float) -> AsyncIterator[None]:
        """Let so many clients visit meanwhile, each with a pause (seconds) after a visit.

        Each comes at least once, and finishes its last visit.
        Raises RefusedError in an ExceptionGroup.
        """
        self._over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._probe(pause))
            try:
                yield
            finally:
                self._over.set()

    async def _probe(self, pause: float) -> None:
        self.visits.append(await visit(self._port, self._message))
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)
                return
            self.visits.append(await visit(self._port, self._message))
