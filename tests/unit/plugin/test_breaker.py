# SPDX-License-Identifier: MIT
"""The circuit breaker: when somebody counts as down, when he is tried, and what the log says."""

from __future__ import annotations

import asyncio

import pytest

from qpsmtpd.errors import PeerError
from qpsmtpd.plugin.breaker import MAX_FAILURES, MAX_RETRY, RETRY, Breaker
from qpsmtpd.testing import FakeClock

SLOW = PeerError("no answer within 1s")
GONE = PeerError("cannot connect", unreachable=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tried(clock: FakeClock) -> Breaker:
    return Breaker(clock, "scanner", "unix:/run/x")


def fails(tried: Breaker, error: PeerError) -> None:
    with pytest.raises(PeerError), tried.attempt():
        raise error


def works(tried: Breaker) -> None:
    with tried.attempt():
        pass


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_what_nobody_can_reach_is_down(
    tried: Breaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fails(tried, GONE)
    assert not tried.closed
    assert tried.reason == "cannot connect"
    assert [tried.may_try(), tried.may_try()] == [False, False]
    clock.advance(RETRY)
    assert tried.may_try()
    works(tried)
    assert tried.may_try()
    assert said(caplog) == [
        "WARNING scanner down: unix:/run/x: cannot connect",
        "WARNING scanner up again: unix:/run/x seconds=1 unanswered=2",
    ]


def test_single_failures_do_not_count(tried: Breaker) -> None:
    for _ in range(5):
        for _ in range(MAX_FAILURES - 1):
            fails(tried, SLOW)
        works(tried)
    assert tried.closed


def test_failures_in_a_row_count(tried: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        fails(tried, SLOW)
    assert not tried.closed
    assert said(caplog) == ["WARNING scanner down: unix:/run/x: no answer within 1s"]


def test_trials_become_rare(
    tried: Breaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fails(tried, GONE)
    waits = []
    for _ in range(8):
        waits.append(0)
        while not tried.may_try():
            clock.advance(1)
            waits[-1] += 1
        assert not tried.may_try(), "one at a time"
        fails(tried, SLOW)
    assert waits == [1, 2, 4, 8, *[MAX_RETRY] * 4]
    assert len(said(caplog)) == 1


def test_the_next_outage_begins_with_short_waits(tried: Breaker, clock: FakeClock) -> None:
    fails(tried, GONE)
    clock.advance(RETRY)
    assert tried.may_try()
    fails(tried, GONE)
    works(tried)
    fails(tried, GONE)
    for wait in (RETRY, 2 * RETRY):
        clock.advance(wait)
        assert tried.may_try()


def test_attempts_that_began_before_change_nothing(tried: Breaker, clock: FakeClock) -> None:
    with pytest.raises(PeerError), tried.attempt():
        fails(tried, GONE)
        clock.advance(RETRY)
        raise SLOW
    assert tried.reason == "cannot connect"
    assert tried.may_try()


def test_a_trial_that_is_cancelled_proves_nothing(tried: Breaker, clock: FakeClock) -> None:
    fails(tried, GONE)
    clock.advance(RETRY)
    assert tried.may_try()
    with pytest.raises(asyncio.CancelledError), tried.attempt():
        raise asyncio.CancelledError
    assert not tried.closed
    assert not tried.may_try()


def test_once_it_is_reached_others_try_too(tried: Breaker, clock: FakeClock) -> None:
    """They cannot know whether the first of them will ever get to an end."""
    tried.failed(GONE)
    clock.advance(RETRY)
    for _ in range(3):
        assert tried.may_try()
        tried.reached()
    assert not tried.closed
    tried.worked()
    assert tried.closed


def test_reaching_what_fails_later_proves_nothing(tried: Breaker, clock: FakeClock) -> None:
    tried.failed(GONE)
    clock.advance(RETRY)
    assert tried.may_try()
    tried.reached()
    tried.failed(SLOW)
    assert tried.may_try()
    tried.reached()
    assert not tried.may_try()
