# SPDX-License-Identifier: MIT
"""Search: what somebody looks for, as it is in the address of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from qpsmtpd.decisions.decision import TICKS
from qpsmtpd.decisions.selection import Selection, meanings

#: Characters of a text that is looked for.
MOST_TEXT = 200
OUTCOMES = ("accepted", "deferred", "refused")
#: How far back, by the word in the address: what people call it, and seconds; "" means no limit.
PERIODS = {
    "": ("any time", 0.0),
    "hour": ("the last hour", 3600.0),
    "day": ("the last 24 hours", 86400.0),
    "week": ("the last 7 days", 7 * 86400.0),
}

_MOST_DIGITS = 16


class Moment(NamedTuple):
    """A time as it is in addresses."""

    ticks: int

    @classmethod
    def of(cls, time: float) -> Moment:
        """The moment of a decision."""
        return cls(round(time * TICKS))

    @property
    def time(self) -> float:
        """Seconds since the epoch; the same number that the decision has."""
        return self.ticks / TICKS


@dataclass(frozen=True, kw_only=True)
class Search:
    """What decisions are wanted; "" means any.

    text: an id, an address, a domain, a client, or a part of what was said.
    period: a key of PERIODS.  until: the last ones until then; None means now.
    """

    text: str = ""
    outcome: str = ""
    plugin: str = ""
    period: str = ""
    until: Moment | None = None

    def selections(self, now: float) -> list[Selection]:
        """What a decision may be like to be wanted."""
        _, seconds = PERIODS[self.period]
        found = [*meanings(self.text), Selection(text=self.text)] if self.text else [Selection()]
        since = now - seconds if seconds else 0.0
        return [
            replace(each, since=since, outcome=self.outcome, plugin=self.plugin) for each in found
        ]

    @property
    def parameters(self) -> dict[str, str]:
        """As in the address of the first page."""
        named = {"q": self.text, "outcome": self.outcome, "plugin": self.plugin}
        return {name: value for name, value in {**named, "in": self.period}.items() if value}


def parse_search(parameters: Mapping[str, str]) -> Search:
    """What the address of a page says.  Raises a ValueError that says what is wrong."""
    text = parameters.get("q", "").strip()
    outcome, period = parameters.get("outcome", ""), parameters.get("in", "")
    plugin, until = parameters.get("plugin", ""), parameters.get("until", "")
    if len(text) > MOST_TEXT or len(plugin) > MOST_TEXT:
        raise ValueError(f"nothing is longer than {MOST_TEXT} characters")
    if outcome not in ("", *OUTCOMES):
        raise ValueError("there is no such outcome")
    if period not in PERIODS:
        raise ValueError("there is no such period")
    return Search(
        text=text,
        outcome=outcome,
        plugin=plugin,
        period=period,
        until=parse_moment(until) if until else None,
    )


def parse_moment(text: str) -> Moment:
    """A time in an address.  Raises ValueError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise ValueError("that is not a time")
    return Moment(int(text))
