# SPDX-License-Identifier: MIT
"""Counting: how the code of the daemon counts and measures.

    FIGURES.count(DNS_LOOKUPS, "TXT", "found")

There is one `FIGURES` in a process, as there is one log: what counts need not be handed down to
everybody.  Until the process has been given a slot of the daemon's memory, it counts for nobody.

What is counted for every message is counted at once and without a call, so that a worker that is
killed loses none of it:

    FIGURES.values[series.cell] += 1

What is measured is noted (`Series.note`), and sorted into the buckets once a second, which is a
quarter of the cost; a worker that is killed loses the measurements of its last second.

Belongs to the thread of the event loop; only `note` may be called by others.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import repeat

from qpsmtpd.metrics.catalogue import BY_NAME, CATALOGUE, CONNECTIONS, MESSAGES, OUTCOMES
from qpsmtpd.metrics.memory import (
    CELLS_USED,
    LEFT_OUT,
    NAMES_USED,
    PID,
    ROW_SECONDS,
    SAMPLED,
    STARTED,
    Slot,
    line_of,
    lines_of,
    private_slot,
)
from qpsmtpd.metrics.metric import MOST_SERIES, OTHER, Metric

#: Measurements of a series that are noted until the next second.
_MOST_NOTED = 4096
#: Of a series that is not measured.
_NOTHING: deque[float] = deque(maxlen=0)
#: The first of the cells for what has no room.
_SCRAP = 0
_MOST_CELLS = max(metric.cells for metric in CATALOGUE)


class Series:
    """One metric with certain values of its labels.

    cell: where its number is, or the first one of a histogram.
    noted: what was measured since the numbers were written last.
    note: note a measurement, of a histogram only.
    """

    __slots__ = ("cell", "metric", "note", "noted")

    def __init__(self, metric: Metric, cell: int) -> None:
        self.metric, self.cell = metric, cell
        self.noted: deque[float] = deque(maxlen=_MOST_NOTED) if metric.buckets else _NOTHING
        self.note: Callable[[float], None] = self.noted.append


class Figures:
    """What this process counts.

    values: the numbers of all series, each at its `cell`.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[Metric, tuple[str, ...]], Series] = {}
        self._slot = private_slot()
        self.values = self._slot.cells
        #: The cells that this slot has, and how many series of each metric.
        self._cells: dict[tuple[str, tuple[str, ...]], int] = {}
        self._numbers: Counter[str] = Counter()
        self._slot.state[CELLS_USED] = _MOST_CELLS
        self._said: dict[Series, float] = {}
        self._samplers: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._samplers_before: list[weakref.WeakMethod[Callable[[], None]]] = []

    # --- what others call -------------------------------------------------------------------

    def series(self, metric: Metric, *labels: str) -> Series:
        """The series with these values of the labels, in the order in which they are declared."""
        key = (metric, labels)
        if (found := self._series.get(key)) is None:
            found = self._series[key] = Series(metric, self._cell(metric, labels))
        return found

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        self.values[self.series(metric, *labels).cell] += by

    def measure(self, metric: Metric, value: float, *labels: str) -> None:
        """Note a measurement for a histogram."""
        self.series(metric, *labels).note(value)

    def each_second(self, say: Callable[[], None]) -> None:
        """Have a method called once a second, which calls `add_sample` for what is the case then.

        Until its object is gone, or another configuration is in use.
        """
        self._samplers.append(weakref.WeakMethod(say))

    def add_sample(self, metric: Metric, value: float, *labels: str) -> None:
        """Say what is the case; what several say is added, or the least one counts."""
        series, said = self.series(metric, *labels), self._said
        if series not in said:
            said[series] = value
        elif metric.combined == "least":
            said[series] = min(said[series], value)
        else:
            said[series] += value

    # --- the life of the process ------------------------------------------------------------

    def use(self, slot: Slot) -> None:
        """Count in this slot from now on, and go on with the counts that are there."""
        self._slot, self.values = slot, slot.cells
        slot.state[CELLS_USED] = max(slot.state[CELLS_USED], _MOST_CELLS)
        self._cells.clear()
        self._numbers.clear()
        for cell, _, name, labels in lines_of(slot.written_names):
            self._cells[name, labels] = cell
            self._numbers[name] += 1
            if name in BY_NAME and BY_NAME[name].kind == "gauge":
                self.values[cell] = math.nan
        for (metric, labels), series in self._series.items():
            series.noted.clear()
            series.cell = self._cell(metric, labels)
        slot.state[STARTED], slot.state[SAMPLED] = time.time(), time.monotonic()
        slot.state[PID] = os.getpid()

    def write(self) -> None:
        """Sort what was measured into the buckets."""
        for series in self._all():
            if series.noted:
                self._write(series)

    def sample(self, also: Callable[[], None]) -> None:
        """To be called once a second: ask who has to say something, write, keep the history.

        also: somebody who has to say something, whatever the configuration is.
        """
        self._said = {}
        also()
        self._samplers = [each for each in self._samplers if each() is not None]
        for reference in (*self._samplers_before, *self._samplers):
            if (say := reference()) is not None:
                say()
        for series in self._all():
            if series.metric.sampled:
                self.values[series.cell] = self._said.get(series, math.nan)
        self.write()
        now = time.monotonic()
        row = self._slot.row(int(now // ROW_SECONDS))
        row[0] = 0.0  # it is not to be read until it is complete
        for place, series in enumerate(self._kept(), start=1):
            row[place] = self.values[series.cell]
        row[0] = now
        self._slot.state[SAMPLED] = now

    def _all(self) -> list[Series]:
        """All series; a thread that loses a log line may make another one meanwhile."""
        return list(self._series.values())

    def begin_reload(self) -> None:
        """A configuration is being loaded; `end_reload` must follow."""
        self._samplers_before, self._samplers = self._samplers, []

    def end_reload(self, *, used: bool) -> None:
        """Who has something to say is from now on who came since then, or who was there before."""
        if not used:
            self._samplers = self._samplers_before
        self._samplers_before = []

    def _kept(self) -> Iterator[Series]:
        """What the history has."""
        for outcome in OUTCOMES:
            yield self.series(MESSAGES, outcome)
        yield self.series(CONNECTIONS)

    def _write(self, series: Series) -> None:
        noted = list(series.noted)
        series.noted.clear()
        values, bounds = self.values, series.metric.buckets
        for bucket, number in Counter(map(bisect_left, repeat(bounds), noted)).items():
            values[series.cell + bucket] += number
        values[series.cell + len(bounds) + 1] += math.fsum(noted)

    # --- cells ------------------------------------------------------------------------------

    def _cell(self, metric: Metric, labels: tuple[str, ...]) -> int:
        """The cell of a series: that which the slot has, or a new one."""
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        cell = self._cells.get((metric.name, labels))
        if cell is None:
            if labels and self._numbers[metric.name] >= MOST_SERIES:
                others = (OTHER,) * len(labels)
                return self._new(metric, labels) if labels == others else self._cell(metric, others)
            cell = self._new(metric, labels)
        if metric.kind == "gauge":
            self.values[cell] = math.nan
        return cell

    def _new(self, metric: Metric, labels: tuple[str, ...]) -> int:
        """Make room for a series; without any it gets a cell that nobody reads."""
        state = self._slot.state
        cell, used = int(state[CELLS_USED]), int(state[NAMES_USED])
        line = line_of(cell, metric.cells, metric.name, labels)
        end = used + len(line)
        if cell + metric.cells > len(self.values) or end > len(self._slot.names):
            state[LEFT_OUT] += 1
            return _SCRAP
        self._slot.names[used:end] = line
        state[CELLS_USED] = cell + metric.cells
        # The line counts from now on.
        state[NAMES_USED] = end
        self._cells[metric.name, labels] = cell
        self._numbers[metric.name] += 1
        return cell


#: Those of this process.
FIGURES = Figures()
