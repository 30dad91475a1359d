# SPDX-License-Identifier: MIT
"""Hosting: a connection of a mail system that asks us about its sessions, whatever it speaks.

A reload changes nothing for the client that is being asked about; the next one gets the new
configuration.  Every wait ends, also for a peer that takes none of our answers.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from typing import Protocol

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.fronts.visit import Client, Visit
from qpsmtpd.mail.session import ReverseLookup, ReverseNames
from qpsmtpd.mail.spoolmemory import SpoolMemory

log = logging.getLogger(__name__)

_BLOCK = 64 * 1024


class FrontError(Exception):
    """The mail system does not keep to the protocol; the text says how."""


#: A conversation on a connection, to its end.  Raises FrontError, OSError and TimeoutError.
Speak = Callable[["FrontConnection"], Awaitable[None]]


class FrontHost(Protocol):
    """What such a connection needs from the server that accepted it (daemon/server.py)."""

    @property
    def snapshot(self) -> Snapshot:
        """The configuration for new clients."""

    @property
    def memory(self) -> SpoolMemory:
        """What the messages of all connections have in memory."""

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up a client's name; returns the function that waits for it."""

    def enter(self, front: FrontConnection) -> bool:
        """Register a connection; False if there is no room."""

    def leave(self, front: FrontConnection) -> None:
        """The connection is over."""

    def hold(self, snapshot: Snapshot) -> None:
        """A client is being asked about, with this configuration."""

    def release(self, snapshot: Snapshot) -> None:
        """It has left."""


class FrontConnection(asyncio.StreamReaderProtocol):
    """One connection; `speak` is the conversation on it.

    busy: whether it is about a client, so that it should not end now.
    """

    def __init__(
        self,
        host: FrontHost,
        loop: asyncio.AbstractEventLoop,
        speak: Speak,
    ) -> None:
        self._reader = StreamReader(limit=_BLOCK, loop=loop)
        super().__init__(self._reader, self._begin, loop=loop)
        self._writer: StreamWriter | None = None
        self._speak = speak
        self.host = host
        self.task: asyncio.Task[None] | None = None
        self.draining = False
        self.busy = False

    async def _begin(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer, self.task = reader, writer, asyncio.current_task()
        try:
            if self.host.enter(self):
                try:
                    await self._converse()
                finally:
                    self.host.leave(self)
        finally:
            writer.close()
            self.task = None

    async def _converse(self) -> None:
        try:
            await self._speak(self)
        except FrontError as error:
            log.warning("a mail system does not keep to the protocol: %s", error)
        except TimeoutError:
            log.info("a mail system has been silent for too long")
        except OSError as error:
            log.debug("a mail system broke off: %s", error)
        except Exception:
            log.exception("fault in a conversation with a mail system")

    async def exchange(self, answers: bytes, seconds: float) -> bytes:
        """Send answers, and wait for what comes next; b"" at the end.  Raises TimeoutError."""
        assert self._writer is not None
        async with asyncio.timeout(seconds):
            if answers:
                self._writer.write(answers)
                await self._writer.drain()
            if self.draining and not self.busy:
                return b""
            return await self._reader.read(_BLOCK)

    def say(self, octets: bytes) -> None:
        """Send something at once, while an answer is being worked on."""
        if self._writer is not None:
            self._writer.write(octets)

    def visit(self, client: Client) -> Visit:
        """A client to be asked about; `leave` is to follow."""
        snapshot, look_up = self.host.snapshot, self.host.reverse_lookup

        async def later() -> ReverseNames:
            return await look_up(client.address.ip)()

        self.host.hold(snapshot)
        return Visit(snapshot, self.host.memory, client, later)

    async def leave(self, visit: Visit) -> None:
        """The client has left."""
        try:
            await visit.close()
        finally:
            self.host.release(visit.snapshot)

    # --- the server calls these -----------------------------------------------------------------

    def drain(self) -> None:
        """The server is stopping: end as soon as nobody is being asked about."""
        self.draining = True
        if not self.busy and self._writer is not None:
            self._writer.close()

    def cut(self) -> None:
        """End the connection now."""
        if self.task is not None:
            self.task.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
