# SPDX-License-Identifier: MIT
"""Cache: what look-ups have found, for as long as it holds."""

from __future__ import annotations

from qpsmtpd.dns.lookup import Outcome, Question
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import Clock

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
        self._outcomes: dict[Question, tuple[float, Outcome, int]] = {}
        self._characters = 0

    def get(self, question: Question) -> Outcome | None:
        """What is known now; None when that is nothing."""
        entry = self._outcomes.get(question)
        if entry is None or entry[0] <= self._clock.monotonic():
            return None
        return entry[1]

    def put(self, question: Question, outcome: Outcome, seconds: int) -> None:
        """Remember an outcome for some seconds."""
        self._drop(question)
        if seconds <= 0:
            return
        characters = _characters_of(outcome)
        while self._outcomes and self._is_full(characters):
            self._drop(next(iter(self._outcomes)))
        until = self._clock.monotonic() + seconds
        self._outcomes[question] = (until, outcome, characters)
        self._characters += characters

    def clear(self) -> None:
        """Forget everything."""
        self._outcomes.clear()
        self._characters = 0

    def _is_full(self, characters: int) -> bool:
        too_many = len(self._outcomes) >= self._size
        return too_many or self._characters + characters > MAX_CHARACTERS

    def _drop(self, question: Question) -> None:
        entry = self._outcomes.pop(question, None)
        if entry is not None:
            self._characters -= entry[2]


def _characters_of(outcome: Outcome) -> int:
    if isinstance(outcome, DnsError):
        return _PER_OUTCOME
    texts = (record if isinstance(record, str) else record[1] for record in outcome.records)
    return _PER_OUTCOME + sum(_PER_RECORD + len(text) for text in texts)
