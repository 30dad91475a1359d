# SPDX-License-Identifier: MIT
"""A daemon's memory, in a file, with processes that count in it."""

from __future__ import annotations

from pathlib import Path

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
