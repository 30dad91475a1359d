# SPDX-License-Identifier: MIT
"""What workers know of each other."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.daemon.scoreboard import Scoreboard

WORKERS = 3
names = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "4/c00002"])


def test_counts_of_others() -> None:
    board = Scoreboard(WORKERS)
    slots = [board.slot(number) for number in range(WORKERS)]

    @given(st.lists(st.tuples(st.integers(0, WORKERS - 1), names)))
    def check(entered: list[tuple[int, str]]) -> None:
        for number, name in entered:
            slots[number].add(name, 1)
        for number, slot in enumerate(slots):
            others = Counter(name for worker, name in entered if worker != number)
            for name in {name for _, name in entered}:
                assert slot.count_of_others(name) == others[name]
        for number, name in entered:
            slots[number].add(name, -1)

    check()
    assert not board.counters.tobytes().strip(b"\0")


def test_a_count_is_never_too_low() -> None:
    """Many more clients than counters."""
    board = Scoreboard(2)
    ours, theirs = board.slot(0), board.slot(1)
    clients = [f"client {number}" for number in range(100_000)]
    for client in clients:
        theirs.add(client, 2)
    assert all(ours.count_of_others(client) >= 2 for client in clients[:1000])


def test_how_many_are_counted_together_with_others() -> None:
    """With 10 000 clients it is one in two hundred: 50, give or take 7."""
    board = Scoreboard(2)
    ours, theirs = board.slot(0), board.slot(1)
    for number in range(5000):
        ours.add(f"our client {number}", 1)
        theirs.add(f"their client {number}", 1)
    counts = Counter(ours.count_of_others(f"our client {number}") for number in range(10_000))
    assert counts[0] > 10_000 - 120
    assert max(counts) <= 3


def test_the_slot_of_a_dead_worker_is_cleared() -> None:
    board = Scoreboard(WORKERS)
    slots = [board.slot(number) for number in range(WORKERS)]
    for number, slot in enumerate(slots):
        slot.add("a", 1 + number)
        slot.say_connections(10 + number)
        slot.say_accepting(True)
    board.clear(1)
    assert [slot.count_of_others("a") for slot in slots] == [3, 4, 1]
    assert [slot.connections_of_others for slot in slots] == [12, 22, 10]
    assert list(board.accepting) == [1, 0, 1]


def test_a_forked_worker_is_seen() -> None:
    board = Scoreboard(2)
    pid = os.fork()
    if not pid:
        slot = board.slot(1)
        slot.add("192.0.2.1", 7)
        slot.say_connections(9)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.slot(0).count_of_others("192.0.2.1") == 7
    assert board.slot(0).connections_of_others == 9


@pytest.mark.parametrize(
    ("connections", "accepting", "above"),
    [
        ([16, 0, 0], [1, 1, 1], False),
        ([25, 0, 0], [1, 1, 1], False),
        ([30, 0, 0], [1, 1, 1], True),
        ([1000, 1000, 1000], [1, 1, 1], False),
        ([1100, 950, 950], [1, 1, 1], False),
        ([1200, 900, 900], [1, 1, 1], True),
        ([900, 1200, 900], [1, 1, 1], False),
        ([1200, 1200, 0], [1, 1, 0], False),
        ([1200, 0, 0], [1, 0, 0], False),
        ([1200, 100, 5000], [1, 1, 0], True),
    ],
)
def test_share(connections: list[int], accepting: list[int], above: bool) -> None:
    """Those that do not accept are not counted on."""
    board = Scoreboard(3)
    for number in range(3):
        board.slot(number).say_connections(connections[number])
        board.slot(number).say_accepting(bool(accepting[number]))
    assert board.slot(0).above_share is above
