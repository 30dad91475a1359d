# SPDX-License-Identifier: MIT
"""Reporter: sends the reports that are due, each once, from whichever machine is first.

A report is claimed, sent to each destination, and marked.  A process that dies before the mark
leaves it to another one; if it dies between the hand-over and the mark, or it is not known whether
the mail system took the message, the report is sent again, with the same Report-ID and file name,
by which its reader knows the duplicate (RFC 9990).  What cannot be sent is tried again by later
runs, and given up after some days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from qpsmtpd.errors import DnsError, StoreError
from qpsmtpd.mail.address import Address
from qpsmtpd.mailauth.aggregate import Published, Row, bounds_of, day_of
from qpsmtpd.mailauth.aggregatecounts import DAY, LEASE, AggregateCounts
from qpsmtpd.mailauth.aggregatexml import Report, total
from qpsmtpd.mailauth.reportaddress import Destination, agreed
from qpsmtpd.plugin.services import Clock, Resolver
from qpsmtpd.reports.handover import HandOver, HandOverError
from qpsmtpd.reports.reportmail import compose

#: Days on which a report is tried, beginning with the first after its own.
TRIED_DAYS = 4
#: Days of which the store still knows something.
KEPT_DAYS = 7
#: Seconds after midnight until all machines have finished the day.
GRACE = 600.0
#: Seconds that handing over one mail may take: a claim must not end before that.
SEND_SECONDS = LEASE / 6
#: How often, and after how many seconds, it is tried to mark what was sent.
MARK_ATTEMPTS = 5
MARK_WAIT = 2.0

Say = Callable[[str], None]


class Outcome(Enum):
    """What became of a report."""

    SENT = "sent"
    NOT_WANTED = "not wanted"
    GIVEN_UP = "given up"
    EMPTY = "nothing counted"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Identity:
    """Who reports: where questions are answered, and with which program."""

    address: Address
    generator: str

    def report(self, day: str, published: Published, rows: Iterable[tuple[Row, int]]) -> Report:
        """The report that we would send."""
        return Report(
            organization=self.address.domain or "",
            email=self.address.address,
            generator=self.generator,
            day=day,
            published=published,
            rows=tuple(rows),
        )


def due_days(now: float) -> Iterator[str]:
    """The days whose reports may be sent now, the last one first; `now` as Clock has it."""
    for ago in range(1, KEPT_DAYS):
        yield day_of(now - GRACE - ago * DAY)


class Reporter:
    """Sends reports."""

    def __init__(
        self,
        counts: AggregateCounts,
        resolver: Resolver,
        clock: Clock,
        identity: Identity,
        hand_over: HandOver,
        say: Say,
    ) -> None:
        """`say` is told what has happened, one line each."""
        self._counts = counts
        self._resolver = resolver
        self._clock = clock
        self._identity = identity
        self._hand_over = hand_over
        self._say = say
        self._failures = 0

    async def run(self, days: Iterable[str]) -> bool:
        """Send what is due of these days; whether the mail system took everything.

        Raises StoreError.
        """
        self._failures = 0
        for day in days:
            for domain in await self._counts.domains(day):
                await self._run(day, domain)
        return not self._failures

    async def _run(self, day: str, domain: str) -> None:
        if await self._counts.outcome(day, domain):
            return
        if not await self._counts.claim(day, domain):
            return
        try:
            # Somebody else may have finished it since we looked.
            if not await self._counts.outcome(day, domain):
                outcome = await self._outcome(day, domain)
                if outcome is not None:
                    await self._counts.finish(day, domain, outcome.value)
        except _UnmarkedError as error:
            # The claim stays: for a while, nobody sends it once more.
            raise StoreError(str(error)) from error
        except BaseException:
            with suppress(StoreError):
                await self._counts.release(day, domain)
            raise
        await self._counts.release(day, domain)

    async def _outcome(self, day: str, domain: str) -> Outcome | None:
        """What becomes of a report; None if it is to be tried again."""
        if self._is_old(day):
            self._say(f"{day} {domain}: given up")
            return Outcome.GIVEN_UP
        try:
            report = await self._report(day, domain)
        except ValueError as error:
            self._say(f"{day} {domain}: what was counted cannot be read: {error}")
            return Outcome.UNREADABLE
        if report is None:
            return Outcome.EMPTY
        return await self._send(report)

    def _is_old(self, day: str) -> bool:
        return bounds_of(day)[1] + TRIED_DAYS * DAY + GRACE < self._clock.now()

    async def _report(self, day: str, domain: str) -> Report | None:
        published = await self._counts.published(day, domain)
        rows = await self._counts.rows(day, domain)
        if published is None or not rows:
            return None
        return self._identity.report(day, published, rows)

    async def _send(self, report: Report) -> Outcome | None:
        name = f"{report.day} {report.domain}"
        try:
            destinations = await agreed(
                report.published.rua, report.domain, self._resolver.limited()
            )
        except DnsError as error:
            self._say(f"{name}: not yet: {error}")
            return None
        if not destinations:
            self._say(f"{name}: no destination wants it")
            return Outcome.NOT_WANTED
        done = [await self._send_to(destination, report) for destination in destinations]
        return Outcome.SENT if all(done) else None

    async def _send_to(self, destination: Destination, report: Report) -> bool:
        """Whether there is nothing more to do for a destination."""
        day, domain, to = report.day, report.domain, destination.address
        if await self._counts.is_sent(day, domain, to.key):
            return True
        message = compose(report, to, self._clock.now())
        if 0 < destination.limit < len(message):
            self._say(f"{day} {domain}: too big for {to} ({len(message)} octets)")
            return True
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._hand_over.send(self._identity.address, to, message)
        except (HandOverError, TimeoutError) as error:
            self._failures += 1
            self._say(f"{day} {domain}: not sent to {to}: {str(error) or 'took too long'}")
            return False
        await self._mark(day, domain, to)
        self._say(f"{day} {domain}: sent to {to}: {total(report.rows)} messages")
        return True

    async def _mark(self, day: str, domain: str, to: Address) -> None:
        for attempt in range(MARK_ATTEMPTS):
            if attempt:
                await asyncio.sleep(MARK_WAIT)
            try:
                await self._counts.mark_sent(day, domain, to.key)
            except StoreError as error:
                problem = error
            else:
                return
        self._say(f"{day} {domain}: sent to {to}, which cannot be written down")
        raise _UnmarkedError(str(problem))


class _UnmarkedError(Exception):
    """A report was sent, and the store does not know it."""
