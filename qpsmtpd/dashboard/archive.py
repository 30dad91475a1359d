# SPDX-License-Identifier: MIT
"""Archive: decisions in the store, for several who ask at the same time.

A question is answered in a thread with an event loop and a connection of its own, so none keeps
the others from being answered.  None is answered at any cost: it ends after MOST_LOOKED decisions
(MOST_LEFT_OUT where most need not be read) and says how far it came, whoever asks may go on from
there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.decisions.sieve import sieve_for
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.plugin.services import Store

#: Decisions on one page, and how many are looked at for it (a second or two of CPU).
PAGE = 50
MOST_LOOKED = 50_000
#: How many are passed over besides, as their octets say that they are not meant (as long).
MOST_LEFT_OUT = 500_000
#: Questions that are answered at the same time, and that may wait besides.
THREADS = 2
MOST_WAITING = 16
#: Seconds for an answer; a store that is slow ends it as well.
PATIENCE = 20.0

T = TypeVar("T")
OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
Question = Callable[[Book], Awaitable[T]]


class BusyError(QpsmtpdError):
    """Too many questions at once, or an answer that takes too long."""


class Found(NamedTuple):
    """Decisions, the last one first.

    looked: at how many.  further: the time from which to go on, None if there are no older ones.
    """

    decisions: list[Decision]
    looked: int
    further: float | None


class Archive:
    """Answers questions about decisions.  Its methods raise StoreError and BusyError."""

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._threads = ThreadPoolExecutor(THREADS, "archive")
        self._asked = 0

    def close(self) -> None:
        """Answer no more questions."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def search(self, selections: Sequence[Selection], until: float) -> Found:
        """The last decisions until that time that one of the selections has."""
        return await self.ask(lambda book: _search(book, selections, until))

    async def find(self, name: str, time: float) -> Decision | None:
        """The decision with that id and of that time."""
        return await self.ask(lambda book: _find(book, name, time))

    async def ask(self, question: Question[T], patience: float = PATIENCE) -> T:
        """The answer to a question.  Raises BusyError after `patience` seconds."""
        if self._asked >= THREADS + MOST_WAITING:
            raise BusyError("too many questions at once")
        self._asked += 1
        asking = _Asking(question, self._open_store)
        future = asyncio.wrap_future(self._threads.submit(asking.run))
        future.add_done_callback(self._answered)
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(future)
        except TimeoutError:
            raise BusyError("the store takes too long to answer") from None
        finally:
            asking.stop()

    def _answered(self, future: asyncio.Future[T]) -> None:
        self._asked -= 1
        if not future.cancelled():
            # Nobody may be waiting for it any more.
            future.exception()


class _Asking(Generic[T]):
    """One question in its thread."""

    def __init__(self, question: Question[T], open_store: OpenStore) -> None:
        self._question = question
        self._open_store = open_store
        self._lock = threading.Lock()
        self._stopped = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def run(self) -> T:
        """Called in the thread."""
        return asyncio.run(self._answer())

    def stop(self) -> None:
        """Nobody wants to know any more."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)

    async def _answer(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._stopped:
                raise BusyError("nobody waits for the answer")
            self._running = asyncio.get_running_loop(), task
        try:
            async with self._open_store() as store:
                return await self._question(Book(store))
        finally:
            with self._lock:
                self._running = None


async def _search(book: Book, selections: Sequence[Selection], until: float) -> Found:
    secret = await book.known_secret()
    wanted = [replace(each, secret=secret) for each in selections]
    since = min(each.since for each in wanted)
    found: list[Decision] = []
    looked, last = 0, until
    async for reach in book.reaches(until, sieve_for(wanted)):
        for decision in reach.decisions:
            if decision.time < since:
                return Found(found, looked + book.left_out, None)
            # Those of one moment stay together: the next page begins with an earlier one.
            if decision.time < last and (len(found) >= PAGE or looked >= MOST_LOOKED):
                return Found(found, looked + book.left_out, decision.time)
            looked, last = looked + 1, decision.time
            if any(each.has(decision) for each in wanted):
                found.append(decision)
        if reach.back < since:
            break
        if book.left_out >= MOST_LEFT_OUT and reach.back < last:
            return Found(found, looked + book.left_out, reach.back)
    return Found(found, looked + book.left_out, None)


async def _find(book: Book, name: str, time: float) -> Decision | None:
    async for decision in book.newest_first(time, sieve_for([Selection(about=name)])):
        if decision.time < time:
            break
        if decision.id == name:
            return decision
    return None
