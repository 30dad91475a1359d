# SPDX-License-Identifier: MIT
"""Memory: the figures of all workers, in a file that other programs read.

Each process has a slot, which only it writes: numbers of eight octets, so that nobody ever sees
half of one, and no lock is needed.  When a worker is killed, its numbers stay, and the one that
takes its place goes on with them.  A slot says itself what its numbers are: for each series there
is a line with the place of its numbers, the metric, and the values of the labels.

The file is new with each start of the daemon, and locked as long as a process of the daemon lives.
Without a place for a file it is memory that ends with the daemon, and nobody else can read it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd import __version__
from qpsmtpd.errors import QpsmtpdError

#: The name of the file, and the variable that says where systemd has made a directory for it.
FILE_NAME = "figures"
VARIABLE = "RUNTIME_DIRECTORY"

#: Numbers and octets of names of a slot.
CELLS = 16 << 10
NAME_BYTES = 128 << 10
#: Rows of the history, and seconds from one to the next: more than an hour.
ROWS = 372
ROW_SECONDS = 10.0
#: Of a row: the monotonic time, messages accepted, deferred and refused, connections.
ROW_CELLS = 5

_MAGIC = b"qpsmtpd figures 1\n"
#: Octets before the first slot.
HEAD = 4096
_STATE = 8
_WORD = 8

# What is in the state of a slot: STARTED is to be shown, SAMPLED is a time of the monotonic clock.
PID, STARTED, SAMPLED, NAMES_USED, CELLS_USED, LEFT_OUT = range(6)


class FiguresError(QpsmtpdError):
    """The file of the figures cannot be used; the text says why."""


@dataclass(frozen=True)
class Head:
    """What the beginning of the file says.

    created, monotonic: when the daemon began, by both clocks.
    workers: how many slots are for workers; one more is the supervisor's.
    """

    version: str
    pid: int
    created: float
    monotonic: float
    workers: int
    cells: int = CELLS
    names: int = NAME_BYTES
    rows: int = ROWS

    @property
    def slots(self) -> int:
        """Of workers, and of the supervisor."""
        return self.workers + 1

    @property
    def slot_size(self) -> int:
        """In octets, whole pages."""
        words = _STATE + self.rows * ROW_CELLS + self.cells
        return -(-(words * _WORD + self.names) // mmap.PAGESIZE) * mmap.PAGESIZE

    @property
    def size(self) -> int:
        """Of the whole file."""
        return HEAD + self.slots * self.slot_size

    def encode(self) -> bytes:
        """As it is at the beginning of the file."""
        return (_MAGIC + json.dumps(asdict(self)).encode() + b"\n").ljust(HEAD, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Raises FiguresError."""
        try:
            magic, text, _ = data.split(b"\n", 2)
            if magic + b"\n" != _MAGIC:
                raise ValueError
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise FiguresError("it was written by another version of qpsmtpd") from None


class Slot(NamedTuple):
    """The numbers of one process."""

    state: memoryview[float]
    history: memoryview[float]
    cells: memoryview[float]
    names: memoryview

    @property
    def written_names(self) -> bytes:
        """The lines about the series that it has."""
        return bytes(self.names[: int(self.state[NAMES_USED])])

    def row(self, number: int) -> memoryview[float]:
        """A row of the history, which is a ring."""
        start = number % (len(self.history) // ROW_CELLS) * ROW_CELLS
        return self.history[start : start + ROW_CELLS]


def slot_in(view: memoryview, head: Head, number: int) -> Slot:
    """A slot of a file."""
    start = HEAD + number * head.slot_size
    history = start + _STATE * _WORD
    cells = history + head.rows * ROW_CELLS * _WORD
    names = cells + head.cells * _WORD
    return Slot(
        view[start:history].cast("d"),
        view[history:cells].cast("d"),
        view[cells:names].cast("d"),
        view[names : names + head.names],
    )


def private_slot() -> Slot:
    """For a process that counts for nobody."""
    head = Head("", 0, 0.0, 0.0, 0)
    return slot_in(memoryview(mmap.mmap(-1, head.size)), head, 0)


class Memory:
    """The slots, as the daemon makes them before it forks."""

    def __init__(self, workers: int, path: Path | None = None) -> None:
        """path: of the file; without one, nobody else can read it.  Raises OSError."""
        self.head = Head(__version__, os.getpid(), time.time(), time.monotonic(), workers)
        self._descriptor = -1
        if path is None:
            self._map = mmap.mmap(-1, self.head.size)
        else:
            self._map = self._make(path)
        self._view = memoryview(self._map)

    def _make(self, path: Path) -> mmap.mmap:
        """Make the file, which appears when it is complete and locked."""
        new = path.with_name(f"{path.name}.{os.getpid()}")
        # The group may read it, whatever the umask says.
        self._descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.fchmod(self._descriptor, 0o640)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Or a file system that becomes full later would end whoever writes to a new page.
            os.posix_fallocate(self._descriptor, 0, self.head.size)
            os.pwrite(self._descriptor, self.head.encode(), 0)
            made = mmap.mmap(self._descriptor, self.head.size)
            new.replace(path)
        except BaseException:
            os.close(self._descriptor)
            new.unlink(missing_ok=True)
            raise
        return made

    def slot(self, number: int) -> Slot:
        """The slot of a worker, 0 to workers - 1."""
        return slot_in(self._view, self.head, number)

    @property
    def supervisors(self) -> Slot:
        """The slot of the process that supervises the workers."""
        return self.slot(self.head.workers)

    def vacate(self, number: int) -> None:
        """The worker with this slot is gone: what was the case for it is not any more."""
        self.slot(number).state[PID] = 0


def path_in(environment: Mapping[str, str]) -> Path | None:
    """Where the daemon keeps its figures; None if nobody has made a place for them."""
    directory = environment.get(VARIABLE, "").partition(":")[0]
    return Path(directory) / FILE_NAME if directory else None


def lines_of(names: bytes) -> Iterator[tuple[int, int, str, tuple[str, ...]]]:
    """What the names of a slot say: a cell, how many there are, the metric, values of its labels.

    Raises FiguresError.
    """
    for line in names.splitlines():
        try:
            cell, count, name, *labels = json.loads(line)
        except ValueError:
            raise FiguresError("it is damaged") from None
        yield cell, count, name, tuple(labels)


def line_of(cell: int, count: int, name: str, labels: tuple[str, ...]) -> bytes:
    """The line about a series."""
    fields: list[Any] = [cell, count, name, *labels]
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
