# SPDX-License-Identifier: MIT
"""Gathers a digest in one pass over the decisions of a period and of the one before it.

What it holds does not grow with their number: names are counted in a tally, and of those who were
put off only the last hundred thousand are remembered.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision, Outcome, Said
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.decisions.sieve import sieve_for
from qpsmtpd.digest.digest import (
    DELAY_BOUNDS,
    SLOW,
    Bin,
    Check,
    Counts,
    Delays,
    Digest,
    New,
    Period,
    Reason,
    Reasons,
    Row,
    Traffic,
)
from qpsmtpd.digest.tally import Name, Tally
from qpsmtpd.terminal import shown

#: Rows of a table, unless somebody wants more, and of what is new.
ROWS = 10
_NEW_ROWS = 5
#: Senders with their networks that were put off and have not come back.
MOST_WAITING = 100_000
#: More plugins than anybody has.
_ALL = 1000

#: Seconds of the parts of a period, and the longest period for which each is used.
_PARTS = ((600.0, 3 * 3600.0), (3600.0, 2 * 86400.0), (86400.0, 62 * 86400.0))
_WEEK = 7 * 86400.0
_MOST_PARTS = 520

_FAULTS = frozenset({"fault", "timeout", "store"})
_OF_RECIPIENTS = frozenset({"rcpt", "verify_recipient"})
_is_code = re.compile(r"[245]\d\d|[245]\.\d{1,3}\.\d{1,3}", re.ASCII).fullmatch
#: Between the parts of the name of a reason: no text that can be printed has it.
_AND = "\n"
#: For what comes again and again.
_shown = functools.lru_cache(10_000)(shown)


async def gather(
    book: Book, selection: Selection, *, now: float, host: str, privacy: Privacy, rows: int = ROWS
) -> Digest:
    """The digest of what is selected, until now at the latest.

    now: seconds since the epoch.  host: our name.  privacy: says what the network of a client is.
    rows: of each table.  Raises StoreError.
    """
    period = Period(selection.since, min(selection.until, now))
    both = replace(selection, since=period.before.since, until=period.until)
    with closing(Tally()) as tally:
        sums = _Sums(period, privacy, tally)
        oldest = await oldest_in(book)
        sieve = sieve_for([both])
        async for decision in book.oldest_first(both.since, both.until, sieve):
            if both.has(decision):
                sums.add(decision, recent=decision.time >= period.since)
        return sums.digest(rows, made=now, host=shown(host), oldest=oldest, damaged=book.damaged)


async def oldest_in(book: Book) -> float | None:
    """The time of the oldest decision, None if there is none.  Raises StoreError."""
    async for decision in book.oldest_first():
        return decision.time
    return None


class _Sums:
    """The sums of what has been added so far."""

    def __init__(self, period: Period, privacy: Privacy, tally: Tally) -> None:
        self._period = period
        self._tally = tally
        self._totals: Counter[tuple[Outcome, bool]] = Counter()
        self._traffic = {True: Traffic(), False: Traffic()}
        self._course = _Course(period)
        self._waiting = _Waiting()
        self._checks = _Checks()
        self._network = functools.lru_cache(10_000)(lambda ip: network_of(ip, privacy))

    def add(self, decision: Decision, *, recent: bool) -> None:
        """Count a decision of the period, or of the one before."""
        self._totals[decision.outcome, recent] += 1
        network = self._network(decision.ip)
        self._tally.add(_names(decision, network), decision.outcome, recent=recent)
        if decision.outcome == "accepted":
            self._traffic[recent] = _with_message(self._traffic[recent], decision)
        self._waiting.add(decision, network, recent=recent)
        if recent:
            self._course.add(decision)
            self._checks.add(decision)

    def digest(self, rows: int, **about: Any) -> Digest:
        """What has been added; `about` are the fields that do not depend on it."""
        tally = self._tally
        return Digest(
            **about,
            period=self._period,
            totals=self._counts(recent=True),
            before=self._counts(recent=False),
            traffic=self._traffic[True],
            traffic_before=self._traffic[False],
            course=self._course.bins(),
            plugins=tally.table("plugin", _ALL),
            reasons=self._reasons(rows),
            networks=tally.table("network", rows),
            senders=tally.table("sender", rows),
            recipients=tally.table("recipient", rows),
            results=tally.table("result", _ALL),
            delays=self._waiting.results(),
            checks=self._checks.results(),
            new=New(
                reasons=tuple(map(_reason, tally.new("reason", _NEW_ROWS))),
                networks=tally.new("network", _NEW_ROWS),
                sender_domains=tally.new("sender domain", _NEW_ROWS),
            ),
        )

    def _counts(self, *, recent: bool) -> Counts:
        found = self._totals
        return Counts(
            found["accepted", recent], found["deferred", recent], found["refused", recent]
        )

    def _reasons(self, rows: int) -> Reasons:
        table = self._tally.table("reason", rows)
        return Reasons(tuple(map(_reason, table.rows)), table.others.total, table.names)


# --- the names that a decision counts for -----------------------------------------------------


def _names(decision: Decision, network: str) -> list[Name]:
    """Each kind with a name."""
    names = [("plugin", _shown(decision.plugin)), ("network", network)]
    if decision.outcome != "accepted":
        parts = decision.plugin, decision.hook, decision.outcome, decision.reply
        names.append(("reason", _reason_of(*parts)))
    if (sender := sender_of(decision)) is not None:
        names.append(("sender", shown(sender) or "<>"))
        if domain := sender.rpartition("@")[2]:
            names.append(("sender domain", _shown(domain.lower())))
    for recipient in _recipients(decision):
        names.append(("recipient", _shown(recipient)))
    for result in decision.results.split():
        # A client's karma is a number of its own.
        if not result.startswith("karma="):
            names.append(("result", _shown(result)))
    return names


@functools.lru_cache(10_000)
def _reason_of(plugin: str, hook: str, outcome: str, reply: str) -> str:
    return _AND.join(map(shown, (plugin, hook, outcome, shape_of(reply))))


def sender_of(decision: Decision) -> str | None:
    """The sender, "" for the null one; None if there was none yet."""
    if decision.hook == "message":
        return decision.sender
    return decision.about if decision.hook == "mail" else decision.sender or None


def _recipients(decision: Decision) -> Sequence[str]:
    """Each recipient once."""
    if decision.hook in _OF_RECIPIENTS and decision.about:
        return (decision.about,)
    recipients = decision.recipients
    return recipients if len(recipients) < 2 else tuple(dict.fromkeys(recipients))


def shape_of(reply: str) -> str:
    """A reply without what differs from client to client, such as addresses and numbers.

    What looks like a reply code or an enhanced status code stays.
    """
    words = reply.split()
    return " ".join("…" if _differs(word) else word for word in words)


def _differs(word: str) -> bool:
    if _is_code(word):
        return False
    inner = word.strip("\"'()[]<>.,:;")
    return any(char.isdecimal() or char in "@./\\" for char in inner)


def _reason(row: Row) -> Reason:
    plugin, hook, outcome, reply = row.name.split(_AND)
    known: dict[str, Outcome] = {"deferred": "deferred"}
    return Reason(plugin, hook, known.get(outcome, "refused"), reply, row.counts.total, row.before)


def network_of(ip: str, privacy: Privacy) -> str:
    """The network of a client, of which perhaps nothing else was kept."""
    try:
        return shown(ip) if "/" in ip else privacy.network(ip)
    except ValueError:
        return shown(ip) or "-"


def _with_message(traffic: Traffic, decision: Decision) -> Traffic:
    return Traffic(
        traffic.messages + 1,
        traffic.recipients + decision.recipient_count,
        traffic.size + decision.size,
        traffic.encrypted + bool(decision.tls),
        traffic.logged_in + bool(decision.user),
    )


# --- the course of a period -------------------------------------------------------------------


class _Course:
    """Counts in parts of a period."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self._part = part_of(period)
        number = -int(-period.seconds // self._part) or 1
        self._number = min(number, _MOST_PARTS)
        self._counts: Counter[tuple[int, Outcome]] = Counter()

    def add(self, decision: Decision) -> None:
        place = int((decision.time - self._period.since) // self._part)
        self._counts[min(max(place, 0), self._number - 1), decision.outcome] += 1

    def bins(self) -> tuple[Bin, ...]:
        return tuple(map(self._bin, range(self._number)))

    def _bin(self, place: int) -> Bin:
        outcomes: tuple[Outcome, ...] = "accepted", "deferred", "refused"
        counts = Counts(*(self._counts[place, outcome] for outcome in outcomes))
        return Bin(self._period.since + place * self._part, counts)


def part_of(period: Period) -> float:
    """Seconds of each part of a period."""
    return next((part for part, longest in _PARTS if period.seconds <= longest), _WEEK)


# --- who was put off and came back --------------------------------------------------------------


class _Delay:
    """What one plugin has put off."""

    def __init__(self) -> None:
        self.put_off = self.senders = 0
        self.seconds = self.longest = 0.0
        self.classes = [0] * (len(DELAY_BOUNDS) + 1)

    def came_back(self, seconds: float) -> None:
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.classes[sum(seconds > bound for bound in DELAY_BOUNDS)] += 1


class _Waiting:
    """Senders, with the networks of their clients, that were put off and are not back yet.

    The oldest ones are forgotten when there are too many.
    """

    def __init__(self) -> None:
        self._first: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._delays: dict[str, _Delay] = {}

    def add(self, decision: Decision, network: str, *, recent: bool) -> None:
        """A decision of the period, or of the one before."""
        sender = sender_of(decision)
        if sender is None:
            return
        who = hash((sender, network))
        if decision.outcome == "deferred":
            self._put_off(who, decision, recent=recent)
        elif decision.outcome == "accepted" and who in self._first:
            begin, plugin = self._first.pop(who)
            if recent:
                self._of(plugin).came_back(max(decision.time - begin, 0.0))

    def results(self) -> tuple[Delays, ...]:
        found = (
            Delays(
                plugin,
                delay.put_off,
                delay.senders,
                sum(delay.classes),
                delay.seconds,
                delay.longest,
                tuple(delay.classes),
            )
            for plugin, delay in self._delays.items()
        )
        return tuple(sorted(found, key=lambda each: (-each.put_off, each.plugin)))

    def _put_off(self, who: int, decision: Decision, *, recent: bool) -> None:
        plugin = shown(decision.plugin)
        is_first = who not in self._first
        if is_first:
            if len(self._first) >= MOST_WAITING:
                self._first.popitem(last=False)
            self._first[who] = decision.time, plugin
        if recent:
            self._of(plugin).put_off += 1
            self._of(plugin).senders += is_first

    def _of(self, plugin: str) -> _Delay:
        return self._delays.setdefault(plugin, _Delay())


# --- how plugins did ----------------------------------------------------------------------------


class _Checks:
    """Slow and failed answers."""

    def __init__(self) -> None:
        self._slow: Counter[tuple[str, str]] = Counter()
        self._faults: Counter[tuple[str, str]] = Counter()
        self._longest: dict[tuple[str, str], float] = {}

    def add(self, decision: Decision) -> None:
        """A plugin that was asked several times counts once, with its worst answer."""
        bad = [said for said in decision.trail if said.seconds >= SLOW or said.outcome in _FAULTS]
        if not bad:
            return
        checks = {_check(said) for said in bad}
        for said in decision.trail:
            if (check := _check(said)) in checks:
                self._longest[check] = max(self._longest.get(check, 0.0), said.seconds)
        self._slow.update({_check(said) for said in bad if said.seconds >= SLOW})
        self._faults.update({_check(said) for said in bad if said.outcome in _FAULTS})

    def results(self) -> tuple[Check, ...]:
        """The worst ones first."""
        found = (
            Check(*check, self._slow[check], longest, self._faults[check])
            for check, longest in self._longest.items()
        )
        return tuple(sorted(found, key=lambda each: (-each.faults, -each.slow, each[:2])))


def _check(said: Said) -> tuple[str, str]:
    return shown(said.plugin), shown(said.hook)
