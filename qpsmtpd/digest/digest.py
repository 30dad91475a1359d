# SPDX-License-Identifier: MIT
"""Digest: everything that a report of a period shows.  Rendering adds no fact to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qpsmtpd.decisions.decision import Outcome

#: Seconds from which on an answer of a plugin is slow.
SLOW = 1.0

#: Upper bounds of the classes of delays, in seconds; the last class has no bound.
DELAY_BOUNDS = (300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0)


class Period(NamedTuple):
    """since, until: seconds since the epoch."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.until - self.since

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins."""
        return Period(self.since - self.seconds, self.since)


class Counts(NamedTuple):
    """Decisions by their outcome."""

    accepted: int = 0
    deferred: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def turned_away(self) -> int:
        """Those that were not accepted."""
        return self.deferred + self.refused

    def plus(self, outcome: Outcome) -> Counts:
        """With one more."""
        return self._replace(**{outcome: getattr(self, outcome) + 1})


class Row(NamedTuple):
    """What is counted under one name; before: how many there were in the period before."""

    name: str
    counts: Counts
    before: int


class Table(NamedTuple):
    """The names with most decisions, of `names` in all; others: what the other names have."""

    rows: tuple[Row, ...]
    others: Counts
    names: int


class Reason(NamedTuple):
    """Refusals that are alike: the same plugin, hook and reply, but for addresses and numbers.

    reply: with an ellipsis for what differs.  number: how many there are; before: how many there
    were in the period before.
    """

    plugin: str
    hook: str
    outcome: Outcome
    reply: str
    number: int
    before: int


class Reasons(NamedTuple):
    """The most frequent reasons, of `kinds` in all; others: how many refusals have another one."""

    rows: tuple[Reason, ...]
    others: int
    kinds: int


class Bin(NamedTuple):
    """A part of the period."""

    begin: float
    counts: Counts


class Traffic(NamedTuple):
    """What the accepted messages were.

    size: bytes.  encrypted: came by TLS.  logged_in: from users who had logged in.
    """

    messages: int = 0
    recipients: int = 0
    size: int = 0
    encrypted: int = 0
    logged_in: int = 0


class Delays(NamedTuple):
    """What one plugin put off, and what became of it.

    put_off: decisions.  senders: how many they were about, each with its network.
    came_back: senders that were accepted in the period, after they had been put off, perhaps in the
    period before.  seconds: from the first attempt until then, of all together.  longest: of one.
    classes: how many there are of each class of DELAY_BOUNDS, and beyond.
    """

    plugin: str
    put_off: int
    senders: int
    came_back: int
    seconds: float
    longest: float
    classes: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Seconds that one of those who came back had to wait."""
        return self.seconds / self.came_back if self.came_back else 0.0


class Check(NamedTuple):
    """How one hook of one plugin did, as the trails of the decisions have it.

    slow: decisions for which it took SLOW seconds or more.  longest: seconds.
    faults: decisions for which it failed, was too slow, or the store did not answer.
    """

    plugin: str
    hook: str
    slow: int
    longest: float
    faults: int


class New(NamedTuple):
    """What there was in this period and not in the one before, as names with most decisions."""

    reasons: tuple[Reason, ...] = ()
    networks: tuple[Row, ...] = ()
    sender_domains: tuple[Row, ...] = ()

    def __bool__(self) -> bool:
        return any(self)


@dataclass(frozen=True, kw_only=True)
class Digest:
    """The report of a period.

    made: when, in seconds since the epoch; host: the name of the server.
    oldest: the time of the oldest decision that is kept, None if there is none.
    damaged: entries of the store that could not be read.
    totals, before: all decisions, of this period and of the one before.
    traffic, traffic_before: of the accepted messages.
    course: the period in parts of the same length.
    plugins: who decided; the core is "core".  reasons: of what was not accepted.
    networks, senders, recipients: as the privacy settings have them kept; "<>" is the null sender.
    A decision has no sender, or no recipient, if it was made before there was one, so these add up
    to less than the totals, or to more, as a message may have several recipients.
    """

    made: float
    host: str
    period: Period
    oldest: float | None
    damaged: int
    totals: Counts
    before: Counts
    traffic: Traffic
    traffic_before: Traffic
    course: tuple[Bin, ...]
    plugins: Table
    reasons: Reasons
    networks: Table
    senders: Table
    recipients: Table
    results: Table
    delays: tuple[Delays, ...]
    checks: tuple[Check, ...]
    new: New

    @property
    def is_whole(self) -> bool:
        """Whether decisions are kept since the period began."""
        return self.oldest is not None and self.oldest <= self.period.since

    @property
    def is_comparable(self) -> bool:
        """Whether decisions are kept since the period before began, so that trends mean something.

        Of a server that began to work then, nobody can tell.
        """
        return self.oldest is not None and self.oldest <= self.period.before.since
