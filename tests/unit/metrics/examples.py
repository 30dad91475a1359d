# SPDX-License-Identifier: MIT
"""A daemon's memory, in a file, with processes that count in it."""

from __future__ import annotations

from pathlib import Path

from qpsmtpd.metrics.catalogue import CATALOGUE
from qpsmtpd.metrics.counting import Figures
from qpsmtpd.metrics.memory import FILE_NAME, Memory


def nothing() -> None:
    """Nobody has to say anything."""


class Counting:
    """A daemon with some workers, which have counted nothing yet."""

    def __init__(self, directory: Path, workers: int = 2) -> None:
        self.path = directory / FILE_NAME
        self.memory = Memory(workers, self.path)
        self.workers = [Figures() for _ in range(workers)]
        for number, worker in enumerate(self.workers):
            worker.use(self.memory.slot(number))

    def sample(self) -> None:
        """A second has passed."""
        for worker in self.workers:
            worker.sample(nothing)

    def replace(self, number: int) -> Figures:
        """A worker dies, and another one takes its place."""
        self.memory.vacate(number)
        self.workers[number] = Figures()
        self.workers[number].use(self.memory.slot(number))
        return self.workers[number]


def with_everything(directory: Path) -> Counting:
    """A daemon that has counted each metric, with a label that is hard to write."""
    daemon = Counting(directory, 1)
    figures = daemon.workers[0]
    for metric in CATALOGUE:
        labels = ['a "b"\\c\nd'] * len(metric.labels)
        if metric.kind == "histogram":
            figures.measure(metric, 0.5, *labels)
        elif metric.kind == "counter":
            figures.count(metric, *labels)

    def say() -> None:
        for metric in CATALOGUE:
            if metric.sampled:
                figures.add_sample(metric, 1, *["x"] * len(metric.labels))

    figures.sample(say)
    return daemon
