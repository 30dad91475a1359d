# SPDX-License-Identifier: MIT
"""Cache: what look-ups have found, for as long as it holds."""

from __future__ import annotations

from collections import OrderedDict

from qpsmtpd.dns.lookup import Outcome, Question
from qpsmtpd.plugin.services import Clock, DnsAnswer

#: Characters in all that are remembered: strangers choose how long their records are.
MAX_CHARACTERS = 16_000_000
#: What a record and an outcome take besides, in characters.
_PER_RECORD, _PER_OUTCOME = 50, 400


class Cache:
    """Outcomes with the time until which they hold; the oldest are forgotten first.

    size: how many are remembered.
    """

    def __init__(self, size: int, clock: Clock) -> None:
        self._size = size
        self._clock = clock
        # Not a dict: the first key of one comes after the places of all that were there before it.
        self._outcomes: OrderedDict[Question, tuple[float, Outcome, int]] = OrderedDict()
        self._characters = 0

    def get(self, question: Question) -> Outcome | None:
        """What is known now; None when that is nothing."""
        entry = self._outcomes.get(question)
        if entry is None or entry[0] <= self._clock.monotonic():
            return None
        return entry[1]

    def put(self, question: Question, outcome: Outcome, seconds: int) -> None:
        """Remember an outcome for some seconds."""
        outcomes = self._outcomes
        if question in outcomes:
            self._characters -= outcomes.pop(question)[2]
        if seconds <= 0:
            return
        characters = _PER_OUTCOME
        if isinstance(outcome, DnsAnswer):
            for record in outcome.records:
                characters += _PER_RECORD + len(record if isinstance(record, str) else record[1])
        self._characters += characters
        outcomes[question] = (self._clock.monotonic() + seconds, outcome, characters)
        while len(outcomes) > self._size or self._characters > MAX_CHARACTERS:
            self._characters -= outcomes.popitem(last=False)[1][2]

    def clear(self) -> None:
        """Forget everything."""
        self._outcomes.clear()
        self._characters = 0
