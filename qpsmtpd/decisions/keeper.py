# SPDX-License-Identifier: MIT
"""Keeper: collects decisions, and writes them to the store every other second.

Nobody waits for it.  What it holds is bounded: while the store is down or slow, further decisions
are dropped, and counted.

Each becomes a text, for thousands of objects that wait would keep Python's collector busy; but some
of them together, which costs a quarter of composing each in its turn, when other code has driven
this one out of the processor's caches.
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
from qpsmtpd.mail.account import MESSAGE, Account, Findings
from qpsmtpd.plugin.services import Clock, Store

log = logging.getLogger(__name__)

#: Seconds from a decision until it is written.
DELAY = 2.0
#: With MANY, they are written at once; no more than MOST are held.
MANY = 2000
MOST = 10_000
#: So many become texts in one go.
TOGETHER = 64
_NO_KEY = b""


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
        self._accounts: list[tuple[float, Account]] = []
        self._texts: list[str] = []
        self._closed = False
        self._chunk = _OpenChunk()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._lost = 0

    def keep(self, account: Account) -> None:
        """Keep what became of a message or a command, unless too many wait already."""
        count = self._count
        if count >= MOST:
            self._lost += 1
            return
        self._accounts.append((self._clock.now(), account))
        if len(self._accounts) == TOGETHER:
            self._compose()
        if self._writing is None and (self._timer is None or count == MANY):
            self._write_in(0.0 if count >= MANY else DELAY)

    @property
    def _count(self) -> int:
        """How many decisions wait to be written."""
        return len(self._texts) + len(self._accounts)

    def _compose(self) -> None:
        accounts, self._accounts = self._accounts, []
        try:
            self._texts += [_text(time, account) for time, account in accounts]
        except Exception:
            log.exception("fault: decisions are not kept")
            self._lost += len(accounts)

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
        while self._count and self._lost == 0:
            await self._write()

    # --- writing --------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write up to MANY decisions; what comes meanwhile is for the next time."""
        self._compose()
        taken, self._texts = self._texts[:MANY], self._texts[MANY:]
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
            if self._count and not self._closed:
                self._write_in(0.0 if self._count >= MANY else DELAY)

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


# --- texts --------------------------------------------------------------------------------------


def _text(time: float, account: Account) -> str:
    """The text of a decision."""
    recipients = account.recipients[:MOST_RECIPIENTS]
    answer = None if account.hook == MESSAGE and account.code < 400 else account.answer
    return joined(
        (
            ticks(time),
            account.transaction or account.session,
            outcome_of(account.code),
            account.hook,
            account.plugin,
            account.reply[:MOST_TEXT],
            "" if answer is None else answer.reason[:MOST_TEXT],
            account.ip,
            account.name,
            account.helo[:MOST_TEXT],
            account.tls,
            account.user[:MOST_TEXT],
            account.sender,
            account.about[:MOST_TEXT],
            _words(account.findings),
            RECORD.join([each.address.address for each in recipients]),
            str(len(account.recipients)),
            str(account.size),
            ticks(account.seconds),
            account.message_id,
            account.next_hop_id[:MOST_TEXT],
            *said_in(account.answers),
        )
    )


def _words(findings: Findings | None) -> str:
    """The field results."""
    if findings is None:
        return ""
    return " ".join(itertools.islice(dict.fromkeys(_each_word(findings)), MOST_RESULTS))


def _each_word(findings: Findings) -> Iterator[str]:
    # What spares a client may be named after it, and nobody's address is to be kept here.
    if findings.spares_client:
        yield "allowlist=client"
    if findings.spares_sender:
        yield "allowlist=sender"
    if findings.karma:
        yield f"karma={findings.karma}"
    for result in findings.results:
        yield f"{result.method}={result.result}"
