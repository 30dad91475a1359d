# SPDX-License-Identifier: MIT
"""ScannerWire: the bytes between us and a scanner.  Every buffer has a limit.

What the scanner sends is collected as it arrives: it may answer before it has seen the whole
message, and close the connection, so sending ends when an answer begins.  No method has a deadline
of its own; whoever uses the wire has one for the whole conversation (service.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from qpsmtpd.errors import PeerError, words_of
from qpsmtpd.plugin.place import Place

#: Bytes given to the transport at once.
CHUNK = 262144

#: Bytes that may wait for somebody to read them.
MAX_UNREAD = 4 << 20

Blocks = AsyncGenerator[bytes, None]


class ScannerError(PeerError):
    """The scanner did not do its part: what is in the message is unknown."""


class ScannerWire(asyncio.Protocol):
    """One connection.  Its methods raise ScannerError."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        # Bytes at the beginning of the buffer that are known not to have what is searched for.
        self._searched = 0
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        #: Why nothing more comes; "" while something may.
        self._ended = ""

    # --- what the event loop calls ----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of it: uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MAX_UNREAD:
            self._ended = "sends an endless answer"
            self._transport.abort()
        self._changed.set()

    def eof_received(self) -> None:
        self._ended = self._ended or "closes the connection before the end of its answer"
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._ended or f"connection lost{f': {exc}' if exc else ''}"
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- sending ----------------------------------------------------------------------------

    async def send(self, data: bytes) -> bool:
        """Send bytes as fast as the scanner takes them.

        False if it has begun to answer, so that it does not want more.
        """
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            await _events()
            if self._buffer:
                return False
            if self._ended:
                raise ScannerError(self._ended)
            self._transport.write(view[start : start + CHUNK])
            await self._writable.wait()
        return not self._buffer

    def greet(self, data: bytes) -> None:
        """Send a few bytes, whatever the other side says at the same time."""
        self._transport.write(data)

    async def send_all(self, blocks: Blocks) -> bool:
        """Send blocks; False, without the rest of them, if it has begun to answer."""
        async with aclosing(blocks):
            async for block in blocks:
                if not await self.send(block):
                    return False
        return True

    # --- receiving --------------------------------------------------------------------------

    async def read_until(self, end: bytes, most: int) -> bytes:
        """What comes before this end; more than `most` bytes are an error."""
        while (found := self._buffer.find(end, self._searched)) < 0:
            self._searched = max(0, len(self._buffer) - len(end) + 1)
            self._limit(self._searched, most)
            await self._more()
        self._limit(found, most)
        data = self._take(found)
        del self._buffer[: len(end)]
        return data

    async def read_line(self, most: int) -> bytes:
        """A line, without its end."""
        return (await self.read_until(b"\n", most)).removesuffix(b"\r")

    async def read_fields(self, most_octets: int, most_lines: int) -> dict[str, str]:
        """The fields of a head, up to an empty line, by their names in lower case."""
        fields: dict[str, str] = {}
        for _ in range(most_lines):
            line = (await self.read_line(most_octets)).decode("latin-1")
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        raise ScannerError("its answer has too many fields")

    async def read_exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._buffer) < count:
            await self._more()
        return self._take(count)

    async def read_to_end(self, most: int) -> bytes:
        """Everything up to the end of the connection; more than `most` bytes are an error."""
        while not self._ended:
            self._limit(len(self._buffer), most)
            await self._more()
        self._limit(len(self._buffer), most)
        return self._take(len(self._buffer))

    async def _more(self) -> None:
        """Wait until something has come, or the end of the connection."""
        if self._ended:
            raise ScannerError(self._ended)
        self._changed.clear()
        await self._changed.wait()

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._searched = 0
        return data

    @staticmethod
    def _limit(size: int, most: int) -> None:
        if size > most:
            raise ScannerError("its answer is too long")

    # --- TLS --------------------------------------------------------------------------------

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Start TLS with this host.  What came before, in the clear, may be anybody's."""
        if self._buffer:
            raise ScannerError("sends clear text where TLS begins")
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self._transport, self, context, server_hostname=host)
        except OSError as error:
            raise ScannerError(f"TLS failed: {error}") from error
        if transport is None:
            raise ScannerError("TLS failed: connection lost")
        self._transport = transport

    # --- the end ----------------------------------------------------------------------------

    def send_end(self) -> None:
        """Say that nothing more will be sent."""
        self._transport.write_eof()

    def abort(self) -> None:
        """Close at once, discarding what is still to be sent."""
        self._transport.abort()


async def _events() -> None:
    """Let the loop hand over what has come: writing to a closed connection would lose it.

    In the first turn of the loop we are woken up before it, so it takes a second one.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def connect(place: Place) -> ScannerWire:
    """Connect to a scanner.  Raises ScannerError."""
    loop = asyncio.get_running_loop()
    try:
        if place.path:
            _, wire = await loop.create_unix_connection(ScannerWire, place.path)
        else:
            _, wire = await loop.create_connection(ScannerWire, place.host, place.port)
    except (OSError, UnicodeError) as error:
        raise ScannerError(f"cannot connect: {words_of(error)}", unreachable=True) from error
    return wire
