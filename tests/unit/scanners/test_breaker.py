# SPDX-License-Identifier: MIT
"""The circuit breaker: when a scanner counts as down, when it is tried, and what the log says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qpsmtpd.scanners.breaker import MAX_FAILURES, MAX_RETRY, RETRY, Breaker
from qpsmtpd.scanners.wire import ScannerError

SLOW = ScannerError("no answer within 1s")
GONE = ScannerError("cannot connect", unreachable=True)


class Time:
    """That of the loop, as far as a breaker sees it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    clock = Time()
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "get_running_loop", lambda: clock)
        yield clock


def fails(tried: Breaker, error: ScannerError) -> None:
    with pytest.raises(ScannerError), tried.attempt():
        raise error


def works(tried: Breaker) -> None:
    with tried.attempt():
        pass


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_scanner_that_nobody_can_reach_is_down(
    clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    tried = Breaker("/run/x")
    fails(tried, GONE)
    assert not tried.closed
    assert tried.reason == "cannot connect"
    assert [tried.may_try(), tried.may_try()] == [False, False]
    clock.now += RETRY
    assert tried.may_try()
    works(tried)
    assert tried.may_try()
    assert said(caplog) == [
        "scanner down: /run/x: cannot connect",
        "scanner up again: /run/x seconds=1 unanswered=2",
    ]


def test_single_failures_do_not_count(clock: Time) -> None:
    tried = Breaker("/run/x")
    for _ in range(5):
        for _ in range(MAX_FAILURES - 1):
            fails(tried, SLOW)
        works(tried)
    assert tried.closed


def test_failures_in_a_row_count(clock: Time, caplog: pytest.LogCaptureFixture) -> None:
    tried = Breaker("/run/x")
    for _ in range(10):
        fails(tried, SLOW)
    assert not tried.closed
    assert said(caplog) == ["scanner down: /run/x: no answer within 1s"]


def test_trials_become_rare_and_one_goes_on_at_a_time(
    clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    tried = Breaker("/run/x")
    fails(tried, GONE)
    waits = []
    for _ in range(8):
        waits.append(0)
        while not tried.may_try():
            clock.now += 1
            waits[-1] += 1
        with pytest.raises(ScannerError), tried.attempt():
            assert not tried.may_try()
            raise SLOW
    assert waits == [1, 2, 4, 8, *[MAX_RETRY] * 4]
    assert len(said(caplog)) == 1


def test_attempts_that_began_before_do_not_count_as_trials(clock: Time) -> None:
    tried = Breaker("/run/x")
    with pytest.raises(ScannerError), tried.attempt():
        fails(tried, GONE)
        clock.now += RETRY
        raise SLOW
    assert tried.may_try()


def test_a_trial_that_is_cancelled_is_none(clock: Time) -> None:
    tried = Breaker("/run/x")
    fails(tried, GONE)
    clock.now += RETRY
    with pytest.raises(asyncio.CancelledError), tried.attempt():
        raise asyncio.CancelledError
    assert tried.may_try()
