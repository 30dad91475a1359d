# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/deadlines.py, with a loop whose time goes when it is told to."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import pytest

from qpsmtpd.smtp.deadlines import NEVER, Deadlines, Watch
from tests.unit.fakeloop import FakeLoop


def started(**seconds: float) -> tuple[FakeLoop, Deadlines, list[float]]:
    loop = FakeLoop()
    late: list[float] = []
    deadlines = Deadlines(Watch(cast("Any", loop)))
    times = {"command": 5.0, "data": 3.0, "session": 60.0} | seconds
    deadlines.start(lambda: late.append(loop.now), **times)
    return loop, deadlines, late


def test_a_client_that_sends_nothing_is_late() -> None:
    loop, _, late = started()
    loop.advance(4.9)
    assert late == []
    loop.advance(0.2)
    assert late == [105.0]


def test_whoever_goes_on_is_not() -> None:
    loop, deadlines, late = started()
    for _ in range(20):
        loop.advance(2.9)
        deadlines.extend(deadlines.data)
    assert late == []
    loop.advance(3.1)
    assert late != []


def test_the_session_has_an_end() -> None:
    loop, deadlines, late = started(session=10)
    for _ in range(4):
        loop.advance(2.4)
        deadlines.extend(deadlines.command)
    assert late == []
    assert not deadlines.session_is_over
    loop.advance(0.5)
    assert late == [110.0]
    assert deadlines.session_is_over


def test_a_nearer_deadline_is_seen_in_time() -> None:
    loop, deadlines, late = started(command=300.0, data=2.0)
    loop.advance(250.0)
    deadlines.extend(deadlines.data)
    loop.advance(4.1)
    assert late[0] <= 254.1 + 100


def test_a_message_has_an_end_however_often_more_of_it_comes() -> None:
    loop, deadlines, late = started(message=10.0, min_rate=4)
    deadlines.begin_message()
    for _ in range(5):
        loop.advance(2.0)
        deadlines.extend(deadlines.data)
        deadlines.allow_for(1)
    assert late == []
    loop.advance(1.2)
    deadlines.extend(deadlines.data)
    loop.advance(0.1)
    assert (late, deadlines.exceeded) == ([111.25], "data_deadline")


def test_a_message_may_take_long_if_it_is_large() -> None:
    loop, deadlines, late = started(message=10.0, min_rate=4)
    deadlines.begin_message()
    for _ in range(25):
        loop.advance(2.0)
        deadlines.extend(deadlines.data)
        deadlines.allow_for(8)
    assert late == []


def test_what_was_exceeded() -> None:
    loop, deadlines, late = started(session=10.0, message=4.0)
    loop.advance(5.1)
    said = [deadlines.exceeded]
    deadlines.begin_message()
    loop.advance(4.0)
    said.append(deadlines.exceeded)
    deadlines.message_end = NEVER
    said.append(deadlines.exceeded)
    loop.advance(1.0)
    said.append(deadlines.exceeded)
    assert said == ["timeout", "data_deadline", "timeout", "session_timeout"]
    assert late != []


def test_patience_may_end() -> None:
    loop, deadlines, late = started(command=300.0, data=300.0, session=7200.0)
    deadlines.shorten(10.0)
    assert (deadlines.command, deadlines.data, deadlines.idle) == (10.0, 10.0, 10.0)
    loop.advance(10.1)
    assert late[0] == 110.0


def test_less_time_counts_from_now_on() -> None:
    loop, deadlines, late = started(command=300.0, data=200.0, session=7200.0)
    loop.advance(5.0)
    deadlines.allow(20.0, 10.0)
    assert (deadlines.command, deadlines.data, deadlines.idle) == (20.0, 10.0, 20.0)
    loop.advance(19.9)
    assert late == []
    loop.advance(0.2)
    assert late[0] == 125.0


def test_more_time_counts_from_the_next_wait_on() -> None:
    loop, deadlines, late = started(command=20.0, data=10.0, session=7200.0)
    deadlines.idle = deadlines.data
    deadlines.extend(deadlines.idle)
    deadlines.allow(300.0, 200.0)
    assert (deadlines.command, deadlines.data, deadlines.idle) == (300.0, 200.0, 200.0)
    loop.advance(5.0)
    deadlines.extend(deadlines.idle)
    loop.advance(190.0)
    assert late == []
    loop.advance(10.1)
    assert late != []


def test_nothing_comes_after_the_end() -> None:
    loop, deadlines, late = started()
    deadlines.stop()
    deadlines.stop()
    deadlines.shorten(1.0)
    loop.advance(1000.0)
    assert late == []


def several(number: int) -> tuple[FakeLoop, list[Deadlines]]:
    loop = FakeLoop()
    watch = Watch(cast("Any", loop))
    return loop, [Deadlines(watch) for _ in range(number)]


def test_many_connections_have_one_timer_for_a_second() -> None:
    loop, all_deadlines = several(10)
    late: list[int] = []
    for number, deadlines in enumerate(all_deadlines):
        deadlines.start(partial(late.append, number), command=60.0, data=60.0, session=600.0)
        loop.advance(0.05)
    assert len(loop.handles) == 1
    for deadlines in all_deadlines[:5]:
        deadlines.stop()
    loop.advance(59.4)
    assert late == []
    loop.advance(0.475)
    assert late == [5, 6, 7]


def test_whoever_is_late_may_end_others() -> None:
    loop, all_deadlines = several(2)
    late: list[float] = []

    def end_all() -> None:
        late.append(loop.now)
        for each in all_deadlines:
            each.stop()

    for deadlines in all_deadlines:
        deadlines.start(end_all, command=60.0, data=60.0, session=600.0)
    loop.advance(1000.0)
    assert late == [160.0]


def test_a_fault_at_one_leaves_the_others_watched() -> None:
    loop, all_deadlines = several(3)
    late: list[float] = []

    def fail() -> None:
        late.append(loop.now)
        raise RuntimeError

    for deadlines in all_deadlines:
        # They are looked at in time, and due already then.
        deadlines.start(fail, command=60.0, data=60.0, session=600.0)
        deadlines.due = 0.0
    for _ in all_deadlines:
        with pytest.raises(RuntimeError):
            loop.advance(100.0)
    assert late == [160.0] * 3


def test_one_deadline_may_be_left_for_the_end() -> None:
    loop, deadlines, late = started()
    aborted: list[float] = []
    deadlines.stop_after(10.0, lambda: aborted.append(loop.now))
    loop.advance(20.0)
    assert (late, aborted) == ([], [110.0])
