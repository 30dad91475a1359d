# SPDX-License-Identifier: MIT
"""Service: a scanner at one place or several, asked within a limited time.

    plugin ──▶ spamd, clamd, rspamd ──▶ service ──▶ breaker ──▶ wire ──▶ the scanner
               (what is said)           (where, how long)       (bytes)

Of several places the first that works is used.  A conversation that fails is begun again at the
next place; a place that is known to be down is not asked (plugin/breaker.py).  Every message has a
connection of its own: scanners need milliseconds for a message, and most close it by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.place import Place
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners.wire import ScannerError, ScannerWire, connect

T = TypeVar("T")

#: Seconds for a scanner that was down to say that it is alive, before it gets a message.
PING_WAIT = 2.0

Talk = Callable[[ScannerWire], Awaitable[T]]


class Slots:
    """Limits how many scans one worker has at once; others wait.

    busy: what is said when nothing becomes free in time.
    """

    def __init__(self, limit: int, busy: str = "too many messages are being scanned") -> None:
        self._free = asyncio.Semaphore(limit)
        self._busy = busy

    @asynccontextmanager
    async def taken(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot, until this time of the loop.  Raises ScannerError."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise ScannerError(self._busy) from None
        try:
            yield
        finally:
            self._free.release()


class Service:
    """The places of a scanner."""

    def __init__(
        self,
        places: Sequence[Place],
        ping: Talk[None],
        clock: Clock,
        *,
        timeout: float,
        connections: int,
    ) -> None:
        """ping: the talk that shows whether it is alive.

        timeout: seconds for one message, at all places together.
        connections: how many may be open at once, of this worker.
        """
        self._places = [(place, Breaker(clock, "scanner", str(place))) for place in places]
        self._ping = ping
        self._timeout = timeout
        self._slots = Slots(connections)

    async def ask(self, talk: Talk[T]) -> T:
        """What a conversation with the first place that works leads to.

        Raises ScannerError when there is none, at once if all are known to be down.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        problems: list[str] = []
        async with self._slots.taken(deadline):
            for number, (place, breaker) in enumerate(self._places):
                if not breaker.may_try():
                    problems.append(f"{place}: down: {breaker.reason}")
                    continue
                now = loop.time()
                share = (deadline - now) / (len(self._places) - number)
                try:
                    return await self._try(place, breaker, talk, now + share)
                except ScannerError as error:
                    problems.append(f"{place}: {error}")
        raise ScannerError("; ".join(problems))

    async def _try(self, place: Place, breaker: Breaker, talk: Talk[T], deadline: float) -> T:
        down = not breaker.closed
        with breaker.attempt():
            if down:
                soon = asyncio.get_running_loop().time() + PING_WAIT
                await converse(place, self._ping, min(soon, deadline))
                breaker.reached()
            return await converse(place, talk, deadline)


async def converse(place: Place, talk: Talk[T], deadline: float) -> T:
    """Have a conversation on a new connection, until this time of the loop.

    Raises ScannerError, and what the talk raises.
    """
    return await answered(deadline, _converse(place, talk))


async def _converse(place: Place, talk: Talk[T]) -> T:
    wire = await connect(place)
    try:
        return await talk(wire)
    finally:
        wire.abort()


async def answered(deadline: float, answer: Awaitable[T]) -> T:
    """An answer, until this time of the loop.  Raises ScannerError if it does not come."""
    begun = asyncio.get_running_loop().time()
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise ScannerError(f"no answer within {deadline - begun:.3g}s") from None
