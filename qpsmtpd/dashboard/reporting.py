# SPDX-License-Identifier: MIT
"""Reporting: what `qpsmtpd report` tells, as a part of a page.

To sum up all decisions takes long where there are many.  So a report is kept for some minutes, and
says when it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.kept import Kept
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

#: Seconds for which a report is good, and within which it has to be made.
KEPT_SECONDS = 300.0
PATIENCE = 120.0

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


class Reporting:
    """Makes reports when somebody wants one."""

    def __init__(self, archive: Archive, site: Site, clock: Clock) -> None:
        self._archive = archive
        self._site = site
        self._clock = clock
        self._kept = {
            word: Kept(partial(self._make, kind), KEPT_SECONDS, clock)
            for word, kind in KINDS.items()
        }

    async def report(self, word: str) -> ReportPart:
        """The report of that kind.  Raises KeyError, StoreError, BusyError and ConfigError."""
        return await self._kept[word].value()

    async def _make(self, kind: Kind) -> ReportPart:
        make = self._shadow if kind.shadow else self._daily
        return await self._archive.ask(partial(make, kind), PATIENCE)

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
