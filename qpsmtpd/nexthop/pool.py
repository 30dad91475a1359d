# SPDX-License-Identifier: MIT
"""Pool: the connections of one worker to one next hop.

A connection that has carried a transaction is kept for the next one, for a limited time and number
of transactions, if nothing was refused on it.  It may be dead without our knowing, or the next hop
may have had enough of it; so when the next transaction fails there before the end of its message
was sent, in a way that may be due to the connection, the work is done again on a new one.  Once
that end has been sent, the next hop may have taken the message: there is no second attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import TypeVar

from qpsmtpd.metrics.catalogue import NEXT_HOP_CONNECTIONS
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.nexthop.client import Client, connect
from qpsmtpd.nexthop.hopfigures import HopFigures
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.target import Target
from qpsmtpd.plugin.timelimit import time_limit

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that closing all connections may take.
CLOSING = 5.0

#: Seconds for which a target that has failed is tried only after the others.
AVOIDED = 30.0


class Pool:
    """Lends connections to a target, or to another one that stands in for it.

    size: connections in use at once; idle: seconds that an unused connection is kept, or 0.
    others: where to try, in this order, when the target fails before the end of a message.
    """

    def __init__(
        self, target: Target, *, size: int, idle: float, others: Sequence[Target] = ()
    ) -> None:
        self.target = target
        self.others = tuple(others)
        self._idle_time = idle
        self._size = size
        self._slots = asyncio.Semaphore(size)
        # The connections not in use, with the loop time at which they are to be closed.
        self._idle: list[tuple[float, Client]] = []
        self._timer: asyncio.TimerHandle | None = None
        # The targets that have failed, with the loop time until which others come first.
        self._avoided: dict[Target, float] = {}
        self._figures = HopFigures(str(target))
        self._figures_of_others = {str(each): HopFigures(str(each)) for each in others}
        FIGURES.each_second(self._sample)
        #: The keywords that the next hop offered last, with what follows them; None before the
        #: first connection.
        self.extensions: Mapping[str, str] | None = None
        #: How many octets of a message it said that it takes (RFC 1870); 0 if it has no limit.
        self.largest_message = 0

    def _sample(self) -> None:
        place, busy = str(self.target), self._size - self._slots._value
        FIGURES.add_sample(NEXT_HOP_CONNECTIONS, busy, place, "busy")
        FIGURES.add_sample(NEXT_HOP_CONNECTIONS, len(self._idle), place, "idle")

    def __str__(self) -> str:
        return ",".join(map(str, (self.target, *self.others)))

    async def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do some work, one transaction, on a connection.  Raises NextHopError."""
        async with self._slot():
            client = self._take_idle()
            if client is not None:
                try:
                    return await self._lend(client, work)
                except NextHopError as error:
                    if error.in_doubt or not error.lost:
                        raise
                    log.debug("used connection given up next_hop=%s: %s", client.target, error)
            return await self._run_on_new(work)

    async def _run_on_new(self, work: Callable[[Client], Awaitable[T]]) -> T:
        *targets, last = self._in_turn()
        for target in targets:
            try:
                return await self._lend(await self._connect(target), work)
            except NextHopError as error:
                if error.in_doubt:
                    raise
                self._avoided[target] = asyncio.get_running_loop().time() + AVOIDED
                level = logging.ERROR if error.ours else logging.WARNING
                log.log(level, "another next hop instead of next_hop=%s: %s", target, error)
        return await self._lend(await self._connect(last), work)

    def _in_turn(self) -> list[Target]:
        """The targets; those that have failed of late come last."""
        if not self.others:
            return [self.target]
        now = asyncio.get_running_loop().time()
        return sorted((self.target, *self.others), key=lambda t: self._avoided.get(t, 0.0) > now)

    async def _connect(self, target: Target) -> Client:
        figures = self._figures_of(target)
        try:
            client = await connect(target)
        except NextHopError:
            figures.connected(success=False)
            raise
        figures.connected(success=True)
        self.extensions = client.extensions
        self.largest_message = client.largest_message
        return client

    def _figures_of(self, target: Target) -> HopFigures:
        if target is self.target:
            return self._figures
        return self._figures_of_others.get(str(target), self._figures)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            with time_limit(self.target.timeout if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            raise NextHopError("all connections are busy", "4.4.5") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _lend(self, client: Client, work: Callable[[Client], Awaitable[T]]) -> T:
        figures, begun = self._figures_of(client.target), perf_counter()
        try:
            result = await work(client)
        except NextHopError as error:
            error.in_doubt = client.dot_sent
            figures.failed(in_doubt=error.in_doubt)
            client.leave()
            raise
        except BaseException:
            client.abort()
            raise
        FIGURES.values[figures.done.cell] += 1
        figures.took(perf_counter() - begun)
        self._take_back(client)
        return result

    # --- idle connections -------------------------------------------------------------------

    def _take_idle(self) -> Client | None:
        """The most recently used connection that is still good."""
        while self._idle:
            _, client = self._idle.pop()
            if client.usable:
                return client
            client.abort()
        return None

    def _take_back(self, client: Client) -> None:
        if not (self._idle_time and client.usable and client.harmless):
            client.leave()
            return
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time() + self._idle_time, client))
        if self._timer is None:
            self._timer = loop.call_later(self._idle_time, self._close_old)

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] <= loop.time():
            self._idle.pop(0)[1].leave()
        self._timer = None
        if self._idle:
            self._timer = loop.call_at(self._idle[0][0], self._close_old)

    async def close(self) -> None:
        """Close the idle connections; nothing may be lent any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        clients = [client for _, client in self._idle]
        self._idle.clear()
        for client in clients:
            client.leave()
        await asyncio.gather(*(client.wait_closed(CLOSING) for client in clients))
