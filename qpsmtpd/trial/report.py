# SPDX-License-Identifier: MIT
"""Courses as text for people: one message in full, a line for each of many, and their sum."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from qpsmtpd.decisions.decision import Said
from qpsmtpd.terminal import PassingLine, shown, styled
from qpsmtpd.trial.course import Course, Result, Step

_COLOURS: dict[Result, str] = {
    "accepted": "green",
    "deferred": "yellow",
    "refused": "red",
    "broken": "red",
}
_BAR = 30
#: Messages between two updates of the progress.
_EVERY = 10


def in_full(course: Course) -> Iterator[str]:
    """Every step, every answer, and what would be handed over."""
    yield one_line(course)
    for step in course.steps:
        yield from _step(step)
    if course.handed_over is not None:
        handed = course.handed_over
        yield f"  {handed.plugin} would get it, for {shown(', '.join(handed.recipients))}"
        yield from (styled(sys.stdout, "green", f"    + {shown(f)}") for f in handed.added)
        yield from (styled(sys.stdout, "red", f"    - {shown(f)}") for f in handed.removed)


def _step(step: Step) -> Iterator[str]:
    yield styled(sys.stdout, "bold", f"  {shown(step.said)}")
    yield from answers(step.answers)
    colour = "green" if step.code < 400 else "yellow" if step.code < 500 else "red"
    yield "    " + styled(sys.stdout, colour, shown(step.reply))


def answers(found: Sequence[Said]) -> Iterator[str]:
    """What plugins said."""
    for said in found:
        yield f"      {said.hook:18} {said.plugin:24} {_opinion(said)}".rstrip()


def _opinion(said: Said) -> str:
    opinion = said.verdict or ("no opinion" if said.outcome == "passed" else "")
    outcome = "" if said.outcome in ("decided", "passed") else f" ({said.outcome})"
    reason = f": {shown(said.reason)}" if said.reason else ""
    return f"{said.seconds * 1000:7.1f} ms  {opinion}{outcome}{reason}"


def one_line(course: Course) -> str:
    """The result and the reason."""
    result = styled(sys.stdout, _COLOURS[course.result], course.result)
    return f"{shown(course.name)}: {result}{_why(course)}"


def _why(course: Course) -> str:
    if course.broken:
        return f": {shown(course.broken)}"
    step = course.deciding
    if step is None:
        return ""
    return f" by {course.decided_by} after {step.stage}: {shown(step.reply)}"


def change(before: Course, after: Course) -> Iterator[str]:
    """What changes for a message from one configuration to the other; nothing if nothing does."""
    if before.verdict == after.verdict:
        return
    yield f"{shown(before.name)}:"
    for mark, colour, course in (("-", "red", before), ("+", "green", after)):
        yield styled(sys.stdout, colour, f"  {mark} {course.result}") + _why(course)


class Sums:
    """How many came to what."""

    def __init__(self) -> None:
        self.results: Counter[Result] = Counter()
        self.refusals: Counter[tuple[str, Result]] = Counter()
        self.changes: Counter[tuple[Result, Result]] = Counter()
        self.changed = 0

    def add(self, courses: tuple[Course, ...]) -> None:
        """Count a message."""
        first, last = courses[0], courses[-1]
        self.results[first.result] += 1
        if first.result != "accepted":
            self.refusals[first.decided_by or "-", first.result] += 1
        if first.verdict != last.verdict:
            self.changed += 1
            self.changes[first.result, last.result] += 1

    @property
    def total(self) -> int:
        """How many there were."""
        return self.results.total()

    def lines(self, *, compared: bool) -> Iterator[str]:
        """The sums."""
        parts = ", ".join(f"{count} {result}" for result, count in sorted(self.results.items()))
        yield f"{self.total} message{'s' * (self.total != 1)}: {parts or 'none'}"
        if compared:
            yield f"{self.changed} change"
            for (before, after), count in self.changes.most_common():
                kind = f"{before}, otherwise" if before == after else f"{before} -> {after}"
                yield f"  {count:7}  {kind}"
            return
        for (plugin, result), count in self.refusals.most_common():
            yield f"  {count:7}  {result} by {plugin}"


class Progress:
    """A bar on a terminal, nothing elsewhere.  `total`: 0 if it is not known."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._line = PassingLine(stream)
        self._total = total

    def show(self, done: int) -> None:
        """Show how many messages are done."""
        if done % _EVERY:
            return
        bar = ""
        if self._total:
            filled = _BAR * min(done, self._total) // self._total
            bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] of {self._total} "
        self._line.show(f"{done} {bar}")

    def clear(self) -> None:
        """Take the bar away."""
        self._line.clear()
