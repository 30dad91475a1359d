# SPDX-License-Identifier: MIT
"""Guard: nobody waits for a store that is down or slow.

Operations that come in while a batch is being carried out make up the next batch, so one
connection (or thread) serves all sessions, and it never gets an operation that nobody waits for
any more.  A batch is answered within `timeout` seconds of its first operation, or the store is
down: everybody who is waiting gets StoreError, and from then on everybody gets it at once.
Meanwhile the store is probed in the background.  The log has one line when it goes down, and one
when it is back.

A caller that is cancelled leaves; the batch goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from qpsmtpd.errors import StoreError
from qpsmtpd.metrics.catalogue import STORE_DOWN, STORE_OPERATIONS, STORE_OUTAGES
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.store.operation import PROBE, Operation

log = logging.getLogger(__name__)

#: At most this many operations go out together.
MAX_BATCH = 500

#: Seconds until a store that is down is probed, and the most between two probes: each one that
#: fails doubles the wait.  (A probe may leave behind a lookup of the server's name, in a thread
#: that others are waiting for.)
RETRY = 1.0
MAX_RETRY = 8.0

#: The first wait doubles as well, up to MAX_PENALTY, if the store goes down within RELAPSE seconds
#: of coming back.
RELAPSE = 5.0
MAX_PENALTY = 60.0


class Backend(Protocol):
    """Where the entries are."""

    #: Where that is, for the log; without passwords.
    place: str

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        """Carry out operations in order; returns their answers.

        Opens what has to be opened.  Any exception means that the store is down; it may also be
        cancelled.  It is not called again before it has ended.  An answer that is a StoreError
        means that only this operation has failed.
        """

    async def close(self) -> None:
        """Close what `run` has opened; `run` is not called any more."""


@dataclass(frozen=True, slots=True)
class _Call:
    operation: Operation
    answer: asyncio.Future[Any]
    asked: float


class Guard:
    """A back end with a deadline and a circuit breaker."""

    def __init__(self, backend: Backend, timeout: float) -> None:
        """`timeout`: the most seconds that anybody waits."""
        self._backend = backend
        self._timeout = timeout
        self._waiting: list[_Call] = []
        self._worker: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        #: Why it is down, "" while it is up.
        self._reason = ""
        self._retry = RETRY
        self._up_since: float | None = None
        self._refused = 0
        FIGURES.each_second(self._sample)

    def _sample(self) -> None:
        FIGURES.add_sample(STORE_DOWN, bool(self._reason))

    async def ask(self, operation: Operation) -> Any:
        """Carry out an operation.  Raises StoreError, at once or when the deadline has passed."""
        if self._reason:
            self._refused += 1
            FIGURES.count(STORE_OPERATIONS, "failed")
            raise StoreError(self._reason)
        loop = asyncio.get_running_loop()
        call = _Call(operation, loop.create_future(), loop.time())
        self._waiting.append(call)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await call.answer

    async def close(self) -> None:
        """Close the store; whoever is waiting still gets an answer in time."""
        if self._worker is not None:
            await self._worker
        self._reason = self._reason or "closed"
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.wait([self._prober])
        try:
            async with asyncio.timeout(self._timeout):
                await self._backend.close()
        except Exception as error:
            log.debug("store %s: not closed: %s", self._backend.place, _text(error))

    # --- up -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Carry out everything that is waiting, batch by batch."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._run(batch)
        finally:
            self._worker = None

    async def _run(self, batch: list[_Call]) -> None:
        try:
            async with asyncio.timeout_at(batch[0].asked + self._timeout):
                answers = await self._backend.run([call.operation for call in batch])
            answered = list(zip(batch, answers, strict=True))
            FIGURES.count(STORE_OPERATIONS, "done", by=len(batch))
        # Whatever is wrong with it: a store must not cost any mail.
        except Exception as error:
            self._go_down(error, batch)
            return
        for call, answer in answered:
            _give(call.answer, answer)

    # --- down -----------------------------------------------------------------------------------

    def _go_down(self, error: Exception, batch: list[_Call]) -> None:
        loop = asyncio.get_running_loop()
        self._reason = _text(error) or f"no answer within {self._timeout:g}s"
        log.warning("store down: %s: %s", self._backend.place, self._reason)
        FIGURES.count(STORE_OUTAGES)
        relapsed = self._up_since is not None and loop.time() - self._up_since < RELAPSE
        self._retry = min(self._retry * 2, MAX_PENALTY) if relapsed else RETRY
        self._refused = 0
        refused = [*batch, *self._waiting]
        FIGURES.count(STORE_OPERATIONS, "failed", by=len(refused))
        self._waiting = []
        for call in refused:
            if not call.answer.done():
                self._refused += 1
                call.answer.set_exception(StoreError(self._reason))
        self._prober = loop.create_task(self._probe())

    async def _probe(self) -> None:
        """Wait until the store works again."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        wait = self._retry
        while self._reason:
            await asyncio.sleep(wait)
            wait = min(wait * 2, max(MAX_RETRY, self._retry))
            try:
                async with asyncio.timeout(self._timeout):
                    (answer,) = await self._backend.run([PROBE])
                if isinstance(answer, StoreError):
                    raise answer
            except Exception as error:
                log.debug("store still down: %s: %s", self._backend.place, _text(error))
            else:
                self._reason = ""
        self._up_since = loop.time()
        log.warning(
            "store up again: %s seconds=%.0f unanswered=%d",
            self._backend.place,
            self._up_since - since,
            self._refused,
        )


def _give(waiting: asyncio.Future[Any], answer: Any) -> None:
    if waiting.done():
        return
    if isinstance(answer, StoreError):
        waiting.set_exception(StoreError(str(answer)))
    else:
        waiting.set_result(answer)


def _text(error: Exception) -> str:
    """What an exception says, "" for a timeout."""
    if isinstance(error, TimeoutError):
        return ""
    return str(error) or type(error).__name__
