# SPDX-License-Identifier: MIT
"""A milter that fails is left alone for a while, and the log says so once."""

from __future__ import annotations

import logging

import pytest

from qpsmtpd.milter.breaker import FAILURES, PAUSE, Breaker
from qpsmtpd.testing import FakeClock

LOG = logging.getLogger("qpsmtpd.test_breaker")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno > logging.DEBUG]


def is_open(breaker: Breaker) -> bool:
    return breaker.open


def test_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG.name)
    clock = FakeClock()
    breaker = Breaker(clock, LOG, "clamav")
    for _ in range(FAILURES):
        assert not is_open(breaker)
        breaker.failed("is gone")
    assert is_open(breaker)
    clock.advance(PAUSE)
    assert not is_open(breaker)
    breaker.failed("is gone")
    assert is_open(breaker), "one failure is enough now"
    clock.advance(PAUSE)
    breaker.worked()
    breaker.worked()
    breaker.failed("is slow")
    assert not is_open(breaker)
    assert lines(caplog) == [
        "milter fails milter=clamav: is gone",
        "milter works again milter=clamav failures=4 seconds=20",
        "milter fails milter=clamav: is slow",
    ]
