# SPDX-License-Identifier: MIT
"""Reading: the figures of all workers together, as other programs see them."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.catalogue import BY_NAME
from qpsmtpd.metrics.memory import (
    HEAD,
    LEFT_OUT,
    PID,
    ROW_CELLS,
    SAMPLED,
    STARTED,
    FiguresError,
    Head,
    Slot,
    lines_of,
    slot_in,
)
from qpsmtpd.metrics.metric import Metric

Labels = tuple[str, ...]


class NotRunningError(FiguresError):
    """No daemon is running."""


class Distribution(NamedTuple):
    """A histogram: how many values each bucket has, the last one for the rest; and their sum."""

    counts: tuple[float, ...] = ()
    total: float = 0.0

    @property
    def number(self) -> float:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Of all values; 0 if there were none."""
        return self.total / self.number if self.number else 0.0

    def quantile(self, part: float, bounds: Sequence[float]) -> float:
        """The bound of the bucket that the part `part` of all values does not exceed.

        Infinity if that is the last one, 0 if there were no values.
        """
        wanted, seen = part * self.number, 0.0
        for count, bound in zip(self.counts, (*bounds, math.inf), strict=False):
            seen += count
            if count and seen >= wanted:
                return bound
        return 0.0

    def __add__(self, other: object) -> Distribution:
        if not isinstance(other, Distribution):
            return NotImplemented
        if not self.counts:
            return other
        counts = map(sum, zip(self.counts, other.counts, strict=True))
        return Distribution(tuple(counts), self.total + other.total)


class Process(NamedTuple):
    """A worker: its slot, process id, when it was started, and when it last wrote its figures.

    since: seconds since the epoch.  seen: of the monotonic clock.
    """

    slot: int
    pid: int
    since: float
    seen: float
    connections: int


class Totals(NamedTuple):
    """What had been counted at a time of the monotonic clock."""

    time: float
    accepted: float = 0.0
    deferred: float = 0.0
    refused: float = 0.0
    connections: float = 0.0


@dataclass
class Reading:
    """The figures at one moment.

    time, monotonic: that moment, by both clocks.
    numbers, distributions: the values by metric and labels.
    processes: the workers that live.
    """

    head: Head
    time: float
    monotonic: float
    numbers: dict[Metric, dict[Labels, float]] = field(default_factory=dict)
    distributions: dict[Metric, dict[Labels, Distribution]] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    _histories: list[list[Totals]] = field(default_factory=list)

    def number(self, metric: Metric, *labels: str) -> float:
        """The value of a counter or gauge; 0 if there is none."""
        return self.numbers.get(metric, {}).get(labels, 0.0)

    def total(self, metric: Metric, **labels: str) -> float:
        """The sum of all series with these labels, whatever the others are."""
        wanted = {metric.labels.index(name): value for name, value in labels.items()}
        return sum(
            value
            for found, value in self.numbers.get(metric, {}).items()
            if all(found[place] == value for place, value in wanted.items())
        )

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """The values of a histogram."""
        return self.distributions.get(metric, {}).get(labels, Distribution())

    def totals_at(self, moment: float) -> Totals:
        """What had been counted by all workers at a time of the monotonic clock, about."""
        rows = [_at(history, moment) for history in self._histories]
        latest = max((row.time for row in rows), default=moment)
        return Totals(latest, *(sum(each[1:][n] for each in rows) for n in range(ROW_CELLS - 1)))

    @property
    def totals(self) -> Totals:
        """What has been counted until now."""
        messages = [self.number(catalogue.MESSAGES, name) for name in catalogue.OUTCOMES]
        return Totals._make((self.monotonic, *messages, self.number(catalogue.CONNECTIONS)))

    # --- made of slots ----------------------------------------------------------------------

    def add(self, number: int, slot: Slot) -> None:
        """Add what a process has counted.  Raises FiguresError."""
        pid = int(slot.state[PID])
        connections = 0
        for cell, count, name, labels in lines_of(slot.written_names):
            metric = BY_NAME.get(name)
            # A daemon of another version may still be running.
            if metric is None or metric.cells != count or len(labels) != len(metric.labels):
                continue
            if metric.buckets:
                self._add_distribution(metric, labels, list(slot.cells[cell : cell + count]))
            elif metric.kind == "counter" or pid:
                value = slot.cells[cell]
                if math.isnan(value):
                    continue
                self._add_number(metric, labels, value)
                if metric is catalogue.CONNECTIONS_OPEN:
                    connections += int(value)
        self._add_number(catalogue.SERIES_LEFT_OUT, (), slot.state[LEFT_OUT])
        if pid and number < self.head.workers:
            since, seen = slot.state[STARTED], slot.state[SAMPLED]
            self.processes.append(Process(number, pid, since, seen, connections))
        rows = map(Totals._make, map(slot.row, range(self.head.rows)))
        self._histories.append(sorted(row for row in rows if row.time))

    def _add_number(self, metric: Metric, labels: Labels, value: float) -> None:
        known = self.numbers.setdefault(metric, {})
        if metric.combined == "least" and labels in known:
            known[labels] = min(known[labels], value)
        else:
            known[labels] = known.get(labels, 0.0) + value

    def _add_distribution(self, metric: Metric, labels: Labels, cells: list[float]) -> None:
        *counts, total = cells
        known = self.distributions.setdefault(metric, {})
        known[labels] = known.get(labels, Distribution()) + Distribution(tuple(counts), total)


def _at(history: list[Totals], moment: float) -> Totals:
    """The last row until then; a process that began later had counted nothing."""
    place = bisect_right(history, (moment, math.inf))
    return history[place - 1] if place else Totals(moment)


def read(path: Path) -> Reading:
    """Read the figures of the daemon that runs.

    Raises NotRunningError if none does, and FiguresError if its figures cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotRunningError(
            "the daemon is not running, or was started without RUNTIME_DIRECTORY and keeps no "
            f"figures: there is no {path}"
        ) from None
    except OSError as error:
        raise FiguresError(f"{path}: {error.strerror}") from None
    try:
        if _is_unlocked(descriptor):
            raise NotRunningError(f"the daemon is not running: it has left {path} behind")
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
            return reading_of(mapped)
    except NotRunningError:
        raise
    except (FiguresError, ValueError) as error:
        why = error if isinstance(error, FiguresError) else "it is damaged"
        raise FiguresError(f"{path}: {why}") from None
    finally:
        os.close(descriptor)


def _is_unlocked(descriptor: int) -> bool:
    """Whether no process of the daemon lives any more."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reading_of(memory: mmap.mmap) -> Reading:
    """What is in the memory of a daemon.  Raises FiguresError and ValueError."""
    head = Head.decode(memory[:HEAD])
    if head.size > len(memory):
        raise ValueError("too short")
    reading = Reading(head, time.time(), time.monotonic())
    with memoryview(memory) as view:
        for number in range(head.slots):
            slot = slot_in(view, head, number)
            try:
                reading.add(number, slot)
            finally:
                for part in slot:
                    part.release()
    reading.numbers[catalogue.BUILD] = {(head.version,): 1.0}
    reading.numbers[catalogue.WORKERS] = {(): float(len(reading.processes))}
    reading.numbers[catalogue.WORKERS_WANTED] = {(): float(head.workers)}
    reading.numbers[catalogue.START_TIME] = {(): head.created}
    return reading
