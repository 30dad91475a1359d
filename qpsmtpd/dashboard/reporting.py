# SPDX-License-Identifier: MIT
"""Reporting: what `qpsmtpd report` tells, as a part of a page.

To sum up all decisions takes long where there are many: some 40 seconds of CPU for a million.  So
nobody waits for a report longer than for another page, but is told how far it has come; one is made
at a time; and it is kept for some minutes, ten times as long as it took at the least, and says when
it was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.site import Site
from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.digest.charts import charts_of
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.gather import gather
from qpsmtpd.digest.page import part
from qpsmtpd.digest.shadowreport import shadow_report
from qpsmtpd.digest.shadows import shadow_of
from qpsmtpd.plugin.services import Clock

#: Seconds for which a report is good at the least, within which it has to be made, and after which
#: whoever asks is told that it is not yet.
KEPT_SECONDS = 300.0
PATIENCE = 1800.0
WAIT = 3.0
#: How much longer it is good than it took.
_TIMES = 10

_DAY = 86400.0


class Kind(NamedTuple):
    """What a report is about: its name, days, and whether it is about what might be refused."""

    name: str
    days: int
    shadow: bool = False


#: By the word in the address.
KINDS: Mapping[str, Kind] = {
    "day": Kind("24 hours", 1),
    "week": Kind("7 days", 7),
    "shadow": Kind("What more would be refused", 14, shadow=True),
}


class ReportPart(NamedTuple):
    """made: when; subtitle: of which time; html: its sections."""

    made: float
    subtitle: str
    html: Markup


class _Making:
    """A report, and how far the next one has come."""

    def __init__(self, make: Callable[[_Making], Awaitable[ReportPart]], clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._task: asyncio.Task[ReportPart] | None = None
        self._made: ReportPart | None = None
        self._until = 0.0
        #: Which part of the decisions has been read.
        self.part = 0.0

    def tell(self, part: float) -> None:
        """That part has been read."""
        self.part = part

    async def value(self) -> ReportPart | float:
        """The report; while there is none, the part that has been read."""
        if self._made is not None and self._clock.monotonic() < self._until:
            return self._made
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            # Perhaps nobody asks for what went wrong.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        task = self._task
        await asyncio.wait([task], timeout=WAIT)
        if not task.done():
            return self._made or self.part
        if self._task is task:
            self._task = None
        return task.result()

    async def _run(self) -> ReportPart:
        begun = self._clock.monotonic()
        self.part = 0.0
        made = await self._make(self)
        now = self._clock.monotonic()
        self._made, self._until = made, now + max(KEPT_SECONDS, _TIMES * (now - begun))
        return made


class Reporting:
    """Makes reports when somebody wants one."""

    def __init__(self, archive: Archive, site: Site, clock: Clock) -> None:
        self._archive = archive
        self._site = site
        self._clock = clock
        #: Questions have a thread left while a report is made.
        self._one = asyncio.Lock()
        self._making = {
            word: _Making(partial(self._make, kind), clock) for word, kind in KINDS.items()
        }

    async def report(self, word: str) -> ReportPart | float:
        """The report of that kind; if it is not made yet, the part of it that is, from 0 to 1.

        Raises KeyError, StoreError, BusyError and ConfigError.
        """
        return await self._making[word].value()

    async def _make(self, kind: Kind, making: _Making) -> ReportPart:
        make = self._shadow if kind.shadow else self._daily

        async def question(book: Book) -> ReportPart:
            book.tell = making.tell
            return await make(kind, book)

        async with self._one:
            return await self._archive.ask(question, PATIENCE)

    async def _daily(self, kind: Kind, book: Book) -> ReportPart:
        now = self._clock.now()
        digest = await gather(
            book,
            Selection(since=now - kind.days * _DAY),
            now=now,
            host=self._site.name,
            privacy=self._site.privacy,
        )
        report = daily(digest)
        return ReportPart(now, report.subtitle, Markup(part(report, charts_of(digest))))  # noqa: S704

    async def _shadow(self, kind: Kind, book: Book) -> ReportPart:
        now = self._clock.now()
        shadow = await shadow_of(
            book,
            Selection(since=now - kind.days * _DAY),
            ConfigFiles(self._site.directories),
            now=now,
            host=self._site.name,
            privacy=self._site.privacy,
        )
        report = shadow_report(shadow)
        return ReportPart(now, report.subtitle, Markup(part(report, {})))  # noqa: S704 (escaped)
