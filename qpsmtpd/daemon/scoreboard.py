# SPDX-License-Identifier: MIT
"""Scoreboard: memory that the workers share, so that limits apply to the daemon as a whole.

Each worker has a slot, which only it writes, and all may read: there is no lock, and when a worker
dies, the supervisor clears its slot and all it had counted is gone.  A slot holds the number of
connections of the worker and, for its clients, a count-min sketch: rows of counters; a hash of the
client's name chooses one counter in each row.  However many clients come, it does not grow.  A
client that shares its counter in every row with others is counted together with them; with 10 000
clients connected to two workers that happens to one in two hundred.

All workers must be forked by the process that made the board: in other processes the hashes of
strings differ.
"""

from __future__ import annotations

import mmap

#: Counters in a row of the sketch, a power of two; and rows.
_WIDTH = 1 << 16
_ROWS = 2
_BYTES = 4  # of a counter

#: A worker may always exceed its share by this many connections and a tenth of the share.
_SLACK = 16


class Scoreboard:
    """The slots of all workers."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        head = workers * _BYTES
        memory = mmap.mmap(-1, (2 + _ROWS * _WIDTH) * head)
        view = memoryview(memory)
        self.connections = view[:head].cast("I")
        self.accepting = view[head : 2 * head].cast("I")
        #: The counters of all workers for the same clients lie side by side.
        self.counters = view[2 * head :].cast("I")

    def slot(self, number: int) -> Slot:
        """The slot of a worker, 0 to workers - 1, for that worker."""
        return Slot(self, number)

    def clear(self, number: int) -> None:
        """The worker with this slot is gone."""
        self.connections[number] = self.accepting[number] = 0
        nothing = memoryview(bytes(_ROWS * _WIDTH * _BYTES)).cast("I")
        self.counters[number :: self.workers] = nothing


class Slot:
    """The scoreboard as one worker sees it."""

    def __init__(self, board: Scoreboard, number: int) -> None:
        self._board = board
        self._number = number
        self._workers = board.workers
        self._counters = board.counters

    def say_accepting(self, accepting: bool) -> None:
        """Say whether this worker accepts connections."""
        self._board.accepting[self._number] = accepting

    def say_connections(self, number: int) -> None:
        """Say how many connections this worker has open."""
        self._board.connections[self._number] = number

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that speaks for all."""
        return self._number == 0

    @property
    def connections_of_others(self) -> int:
        """How many connections the other workers have open."""
        connections = self._board.connections
        return sum(connections) - connections[self._number]

    @property
    def above_share(self) -> bool:
        """Whether this worker has many more connections open than the others that accept."""
        board = self._board
        ours = board.connections[self._number]
        if ours <= _SLACK:
            return False
        accepting = sum(board.accepting)
        total = sum(
            count
            for count, accepts in zip(board.connections, board.accepting, strict=True)
            if accepts
        )
        return accepting > 1 and ours > 1.1 * total / accepting + _SLACK

    def add(self, name: str, number: int) -> None:
        """Count this many connections more (or fewer) of this client."""
        first, second = self._places(name)
        self._counters[first + self._number] += number
        self._counters[second + self._number] += number

    def count_of_others(self, name: str) -> int:
        """How many connections of this client the other workers have open; never too few."""
        first, second = self._places(name)
        return min(self._others_at(first), self._others_at(second))

    def _others_at(self, place: int) -> int:
        counters = self._counters
        return sum(counters[place : place + self._workers]) - counters[place + self._number]

    def _places(self, name: str) -> tuple[int, int]:
        """Where the counters of a name begin, one in each row."""
        digest = hash(name)
        first = digest & (_WIDTH - 1)
        second = _WIDTH + (digest >> 32 & (_WIDTH - 1))
        return first * self._workers, second * self._workers
