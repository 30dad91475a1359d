# SPDX-License-Identifier: MIT
"""Wire: a connection to a milter, on which packets travel.  Every wait ends.

Whatever goes wrong is a MilterError: the milter cannot be reached, breaks off, is too slow, or
sends what is not of its protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Self

from qpsmtpd.errors import PeerError, words_of
from qpsmtpd.milter.codec import BadPacketError, Splitter, encode, read_reply
from qpsmtpd.milter.packets import (
    Packet,
)
from qpsmtpd.plugin.place import Place

_BLOCK = 65536


class MilterError(PeerError):
    """The milter did not do its part; the text says what it did, for the log."""


class Wire:
    """One connection.  Its methods raise MilterError.

    timeout: seconds that each of them may take, unless it says otherwise.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._splitter = Splitter()

    @classmethod
    async def connect(cls, place: Place, connect_timeout: float, timeout: float) -> Self:
        """Connect to a milter."""
        with _errors("cannot be reached", unreachable=True):
            async with asyncio.timeout(connect_timeout):
                if place.path:
                    return cls(*await asyncio.open_unix_connection(place.path), timeout)
                return cls(*await asyncio.open_connection(place.host, place.port), timeout)

    async def is_quiet(self) -> bool:
        """Whether the connection is open, and nothing has come that was not asked for."""
        if self._splitter.waiting or self._reader.at_eof() or self._writer.is_closing():
            return False
        try:
            async with asyncio.timeout(0):
                await self._reader.read(1)
        except TimeoutError:
            return True
        except OSError:
            pass
        return False

    async def send(self, *packets: Packet, timeout: float | None = None) -> None:
        """Send packets, and wait while the milter is slow to take them."""
        if self._splitter.waiting:
            raise MilterError("says something unasked")
        # uvloop raises RuntimeError where asyncio has the next wait fail.
        if self._writer.is_closing():
            raise MilterError("broke off: the connection is closed")
        with _errors("broke off"):
            self._writer.write(b"".join(map(encode, packets)))
            async with asyncio.timeout(self._timeout if timeout is None else timeout):
                await self._writer.drain()

    async def receive(self, timeout: float | None = None) -> Packet:
        """The next packet."""
        with _errors("broke off"):
            async with asyncio.timeout(self._timeout if timeout is None else timeout):
                while (packet := self._splitter.next()) is None:
                    data = await self._reader.read(_BLOCK)
                    if not data:
                        raise MilterError("closed the connection")
                    self._splitter.feed(data)
            return read_reply(*packet)

    def close(self, *last: Packet) -> None:
        """Send the last packets, and close; nothing waits for that."""
        if self._writer.is_closing():
            return
        with contextlib.suppress(OSError):
            for packet in last:
                self._writer.write(encode(packet))
            self._writer.close()

    def abort(self) -> None:
        """Close at once, discarding what is still to be sent."""
        self._writer.transport.abort()


@contextlib.contextmanager
def _errors(what: str, *, unreachable: bool = False) -> Iterator[None]:
    """Turn everything that can happen to a connection into a MilterError."""
    try:
        yield
    except TimeoutError:
        raise MilterError(f"{what}: timed out", unreachable=unreachable) from None
    except BadPacketError as error:
        raise MilterError(f"does not speak the milter protocol: {error}") from error
    except (OSError, EOFError, UnicodeError) as error:
        raise MilterError(f"{what}: {words_of(error)}", unreachable=unreachable) from error
