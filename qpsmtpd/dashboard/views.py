# SPDX-License-Identifier: MIT
"""Views: what is on each page, as values for its template."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.dashboard.archive import Archive
from qpsmtpd.dashboard.chain import Chain, read_chain
from qpsmtpd.dashboard.figures import Answers, answers_by_plugin, concerns, last_hour
from qpsmtpd.dashboard.kept import Kept
from qpsmtpd.dashboard.reporting import KINDS, Reporting
from qpsmtpd.dashboard.search import OUTCOMES, PERIODS, Moment, Search
from qpsmtpd.dashboard.site import Site
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.errors import StoreError
from qpsmtpd.explain.remedy import remedies
from qpsmtpd.explain.story import EFFECTS, VERBS, sentences
from qpsmtpd.metrics.memory import FiguresError
from qpsmtpd.metrics.status import Status
from qpsmtpd.plugin.services import Clock

#: Seconds for which the configuration is not read again.
CHAIN_SECONDS = 10.0
#: Seconds after which a page asks again for a report that is being made.
AGAIN = 5
#: How many decisions, slow checks and plugins that refuse are shown as they happen.
LATEST, SLOWEST, REFUSING = 12, 6, 6

#: How the daemon is doing.  Raises FiguresError.
ReadStatus = Callable[[], Status]
Values = dict[str, Any]


class Views:
    """Finds what is on the pages."""

    def __init__(
        self,
        archive: Archive,
        read_status: ReadStatus,
        site: Site,
        clock: Clock,
    ) -> None:
        self._archive = archive
        self._read_status = read_status
        self._site = site
        self._reporting = Reporting(archive, site, clock)
        self._clock = clock
        self._chain = Kept(self._read_chain, CHAIN_SECONDS, clock)

    async def now(self) -> Values:
        """How the daemon is doing, and what it has decided last."""
        values = await self.services()
        status: Status | None = values["status"]
        return {
            **values,
            **await self._latest(),
            "concerns": [] if status is None else list(concerns(status)),
            "slowest": [] if status is None else status.slowest[:SLOWEST],
            "chart": None if status is None else last_hour(status.minutes),
            "refusing": [] if status is None else _refusing(status)[:REFUSING],
        }

    async def _latest(self) -> Values:
        """The last decisions; a store that is down hides nothing else."""
        try:
            found = await self._archive.search([Selection()], math.inf)
        except StoreError as error:
            return {"decisions": [], "store_trouble": str(error)}
        return {"decisions": found.decisions[:LATEST], "store_trouble": ""}

    async def services(self) -> Values:
        """The state of the services that the daemon uses."""
        status, trouble = await self._status()
        return {"status": status, "trouble": trouble, "time": self._clock.now()}

    async def decisions(self, search: Search) -> Values:
        """What was searched for.  Raises StoreError and BusyError."""
        until = math.inf if search.until is None else search.until.time
        found = await self._archive.search(search.selections(self._clock.now()), until)
        chain = await self._chain.value()
        return {
            "search": search,
            "found": found,
            "further": None if found.further is None else Moment.of(found.further).ticks,
            "outcomes": OUTCOMES,
            "periods": PERIODS,
            "plugins": sorted({row.name for row in chain.rows} | {search.plugin} - {""}),
        }

    async def decision(self, name: str, moment: Moment) -> Values | None:
        """One decision, None if there is no such one.  Raises StoreError and BusyError."""
        decision = await self._archive.find(name, moment.time)
        if decision is None:
            return None
        return {
            "decision": decision,
            "session": ".".join(decision.id.split(".")[:3]),
            "sentences": list(sentences(decision, decision.outcome)),
            "remedies": await asyncio.to_thread(self._remedies, decision),
            "verbs": VERBS,
            "effects": EFFECTS,
        }

    def _remedies(self, decision: Decision) -> list[str]:
        return list(remedies(decision, ConfigFiles(self._site.directories)))

    async def plugins(self) -> Values:
        """The chain, and what its plugins have said."""
        status, trouble = await self._status()
        answers: Mapping[str, Answers] = {} if status is None else answers_by_plugin(status.plugins)
        return {
            "chain": await self._chain.value(),
            "status": status,
            "trouble": trouble,
            "answers": defaultdict(Answers, answers),
        }

    async def report(self, word: str) -> Values:
        """A report.  Raises KeyError, StoreError, BusyError and ConfigError."""
        report = await self._reporting.report(word)
        values: Values = {"kinds": KINDS, "chosen": word}
        if isinstance(report, float):
            return {**values, "report": None, "part": report, "again": AGAIN}
        return {**values, "report": report}

    async def _read_chain(self) -> Chain:
        return await asyncio.to_thread(read_chain, self._site.directories)

    async def _status(self) -> tuple[Status | None, str]:
        """How the daemon is doing, or why nobody knows."""
        try:
            return await asyncio.to_thread(self._read_status), ""
        except FiguresError as error:
            return None, str(error)


def _refusing(status: Status) -> list[tuple[str, int]]:
    """The plugins that did not take what came, and how often, the first most often."""
    numbers = {
        plugin: answers.refused + answers.deferred
        for plugin, answers in answers_by_plugin(status.plugins).items()
    }
    return sorted(
        ((plugin, number) for plugin, number in numbers.items() if number),
        key=lambda each: -each[1],
    )
