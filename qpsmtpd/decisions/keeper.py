# SPDX-License-Identifier: MIT
"""Keeper: collects decisions, and writes them to the store every other second.

Nobody waits for it.  What it holds is bounded: while the store is down or slow, further decisions
are dropped, and counted.  Each becomes a text at once: thousands of objects that wait would keep
Python's collector busy.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence
from contextvars import Context
from typing import NamedTuple

from qpsmtpd.decisions.book import CHUNK_SECONDS, FULL, Book, Chunk
from qpsmtpd.decisions.decision import (
    MOST_RECIPIENTS,
    MOST_RESULTS,
    MOST_TEXT,
    RECORD,
    Decision,
    joined,
    outcome_of,
    said_in,
    ticks,
)
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.errors import StoreError
from qpsmtpd.mail.session import Session, Transaction
from qpsmtpd.plugin.services import Clock, Store

log = logging.getLogger(__name__)

#: Seconds from a decision until it is written.
DELAY = 2.0
#: With MANY, they are written at once; no more than MOST are held.
MANY = 2000
MOST = 10_000
_NO_KEY = b""
#: The fields recipients, recipient_count, size, seconds, message_id and next_hop_id without one.
_NO_MESSAGE = ("", "0", "0", "0", "", "")


class Limits(NamedTuple):
    """How long decisions are kept, and how many octets of them."""

    days: float
    size: int


class Keeper:
    """Writes the decisions of one configuration and one process."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, privacy: Privacy) -> None:
        self._book = Book(store)
        self._clock = clock
        self._limits = limits
        self._privacy = privacy
        self._taken: list[str] = []
        self._closed = False
        self._chunk = _OpenChunk()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._lost = 0

    def keep_message(
        self, transaction: Transaction, code: int, reply: str, message_id: str, seconds: float
    ) -> None:
        """Keep what became of a message."""
        session, trail = transaction.session, transaction.trail
        recipients = transaction.recipients
        self._take(
            joined(
                (
                    ticks(self._clock.now()),
                    transaction.id,
                    outcome_of(code),
                    "message",
                    trail.decided_by,
                    reply[:MOST_TEXT],
                    trail.decision.reason[:MOST_TEXT] if trail.decision and code >= 400 else "",
                    *_client(session),
                    transaction.sender,
                    "",
                    _results(session, transaction),
                    RECORD.join([each.address.address for each in recipients[:MOST_RECIPIENTS]]),
                    str(len(recipients)),
                    str(transaction.size),
                    ticks(seconds),
                    message_id,
                    transaction.next_hop_id[:MOST_TEXT],
                    *said_in(session.trail.answers + trail.answers),
                )
            )
        )

    def keep_refusal(
        self, session: Session, hook: str, plugin: str, code: int, reply: str, about: str
    ) -> None:
        """Keep what was refused before there was a message."""
        transaction = session.transaction
        trail = (transaction or session).trail
        answers = session.trail.answers
        if transaction is not None:
            answers = answers + trail.answers
        self._take(
            joined(
                (
                    ticks(self._clock.now()),
                    session.id if transaction is None else transaction.id,
                    outcome_of(code),
                    hook,
                    plugin,
                    reply[:MOST_TEXT],
                    "" if trail.decision is None else trail.decision.reason[:MOST_TEXT],
                    *_client(session),
                    "" if transaction is None else transaction.sender,
                    about[:MOST_TEXT],
                    _results(session, transaction),
                    *_NO_MESSAGE,
                    *said_in(answers),
                )
            )
        )

    def _take(self, decision: str) -> None:
        count = len(self._taken)
        if count >= MOST:
            self._lost += 1
            return
        self._taken.append(decision)
        if self._writing is None and (self._timer is None or count == MANY):
            self._write_in(0.0 if count >= MANY else DELAY)

    def _write_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Not in the context of the session that happens to be first: its ids are not ours.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._begin, context=Context())

    def _begin(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Write what is left."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        while self._taken and self._lost == 0:
            await self._write()

    # --- writing --------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write up to MANY decisions; what comes meanwhile is for the next time."""
        taken, self._taken = self._taken[:MANY], self._taken[MANY:]
        try:
            await self._write_all(taken)
        except StoreError as error:
            log.debug("decisions not kept: %s", error)
            self._lost += len(taken)
            self._chunk = _OpenChunk()
        except Exception:
            log.exception("fault: decisions are not kept")
            self._lost += len(taken)
            self._chunk = _OpenChunk()
        else:
            self._say_lost()
        finally:
            self._writing = None
            if self._taken and not self._closed:
                self._write_in(0.0 if len(self._taken) >= MANY else DELAY)

    def _say_lost(self) -> None:
        if self._lost:
            log.warning("decisions were not kept, as the store was down count=%d", self._lost)
            self._lost = 0

    async def _write_all(self, taken: Sequence[str]) -> None:
        if not taken:
            return
        days = self._limits.days
        first, last = (Decision.decode(each).time for each in (taken[0], taken[-1]))
        if self._privacy.hides:
            taken = await self._without_persons(taken)
        if self._chunk.is_over(first):
            self._chunk = _OpenChunk()
        chunk = self._chunk
        chunk.add(taken, first)
        packed = Chunk.of(chunk.begin, chunk.texts)
        size = len(packed.packed)
        if begins := chunk.number < 0:
            state = await self._book.begin(size, days)
            chunk.number, chunk.before = state.end - 1, state.written - size
        else:
            state = await self._book.grow(size - chunk.size, days)
        chunk.size = size
        await self._book.put(chunk.number, packed.encode(chunk.before), days)
        if begins:
            await self._book.drop(state, self._limits.size, days)
        if chunk.is_over(last):
            self._chunk = _OpenChunk()

    async def _without_persons(self, taken: Sequence[str]) -> list[str]:
        hashes = self._privacy.addresses == "hashed"
        key = await self._book.secret() if hashes else _NO_KEY
        return [self._privacy.applied(Decision.decode(each), key).encode() for each in taken]


class _OpenChunk:
    """The chunk that is being added to; number: negative until it has one."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.begin = 0.0
        self.number = -1
        self.before = 0
        self.size = 0

    def add(self, texts: Sequence[str], time: float) -> None:
        self.begin = self.begin or time
        self.texts += texts

    def is_over(self, time: float) -> bool:
        """Whether a decision of that time belongs to the next one."""
        return len(self.texts) >= FULL or bool(self.begin and time >= self.begin + CHUNK_SECONDS)


def _client(session: Session) -> tuple[str, str, str, str, str]:
    """The fields ip, name, helo, tls and user."""
    return (
        session.client.ip,
        session.client_name or "",
        session.hello_host[:MOST_TEXT],
        "" if session.tls is None else session.tls.version,
        session.auth_user[:MOST_TEXT],
    )


def _results(session: Session, transaction: Transaction | None) -> str:
    """The field results; most often there are none."""
    if (
        session.auth_results
        or session.whitelisted_host
        or session.karma_history
        or (transaction and (transaction.auth_results or transaction.whitelisted_sender))
    ):
        words = dict.fromkeys(_result_words(session, transaction))
        return " ".join(itertools.islice(words, MOST_RESULTS))
    return ""


def _result_words(session: Session, transaction: Transaction | None) -> Iterator[str]:
    # What spares a client may be named after it, and nobody's address is to be kept here.
    if session.whitelisted_host:
        yield "allowlist=client"
    if transaction and transaction.whitelisted_sender:
        yield "allowlist=sender"
    if session.karma_history:
        yield f"karma={session.karma_history}"
    for result in (*session.auth_results, *(transaction.auth_results if transaction else ())):
        yield f"{result.method}={result.result}"
