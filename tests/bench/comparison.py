# SPDX-License-Identifier: MIT
"""Two servers side by side, under the same load in short turns.

What else the machine does lasts for seconds or minutes, and makes a server up to a half slower.  So
two runs, one after the other, tell little of a difference of 5 %; of turns that are much shorter,
nearly each pair meets the same machine.
"""

from __future__ import annotations

import statistics

from tests.bench.addresses import STRANGERS
from tests.bench.cases import Effort, Flow, Subject

#: Turns of each server for each run of an effort, and the part of a run's seconds that one takes.
_TURNS = 16
_PART = 0.08
#: Messages of each connection before that: what happens once, happens there.
_FIRST = 10


async def ratio(case: Flow, one: Subject, other: Subject, effort: Effort) -> float:
    """How many messages `one` takes in a CPU second for one that `other` takes.

    Raises RefusedError and ServerError, also in an ExceptionGroup.
    """
    pair = _Turns(case, one), _Turns(case, other)
    first = _FIRST * case.at_a_time
    costs = [await turns.take(first) for turns in pair]
    number = _TURNS * effort.runs
    messages = max(case.at_a_time, int(effort.seconds * _PART / max(costs)))
    messages = min(messages, (STRANGERS - first) // number)
    ratios = []
    for turn in range(number):
        # Neither is always the one that finds the caches as the other has left them.
        for which in (0, 1) if turn % 2 else (1, 0):
            costs[which] = await pair[which].take(messages)
        ratios.append(costs[1] / costs[0])
    return statistics.median(ratios)


class _Turns:
    """The turns of one server."""

    def __init__(self, case: Flow, subject: Subject) -> None:
        self._case = case
        self._subject = subject
        self._sent = 0

    async def take(self, messages: int) -> float:
        """Send so many; the seconds of CPU that one of them cost."""
        before = self._subject.cost.cpu_seconds()
        await self._case.send(self._subject, messages, self._sent)
        self._sent += messages
        return (self._subject.cost.cpu_seconds() - before) / messages
