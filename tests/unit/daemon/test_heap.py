# SPDX-License-Identifier: MIT
"""When memory is given back."""

from __future__ import annotations

from qpsmtpd.daemon.heap import CROWD, INTERVAL, Heap, trim
from qpsmtpd.testing import FakeClock


def test_when_a_crowd_has_gone() -> None:
    times: list[float] = []
    clock = FakeClock(1000.0)
    heap = Heap(clock.monotonic, lambda: times.append(clock.monotonic()))
    for connections in (0, CROWD - 1, 0, CROWD, CROWD // 2, CROWD // 10 + 1, CROWD // 10, 0, 0):
        heap.look(connections)
        clock.advance(1)
    assert times == [1006.0]
    # Not all the time.
    for connections in (2 * CROWD, 0, 0):
        heap.look(connections)
    assert times == [1006.0]
    clock.advance(INTERVAL)
    heap.look(0)
    assert len(times) == 2


def test_the_c_library_is_asked() -> None:
    trim()
