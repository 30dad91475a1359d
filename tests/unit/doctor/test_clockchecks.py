# SPDX-License-Identifier: MIT
"""Clock checks."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.clockchecks import check_clock
from tests.unit.doctor.fakes import FakeMachine, an_installation, summary

ASK = "timedatectl show --property=NTPSynchronized --value"
LATER = 2_000_000_000.0  # 2033-05-18 03:33:20


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("yes", "ok is synchronized"),
        ("no", "notice shows 2033-05-18 03:33:20 UTC, and is not synchronized"),
        (None, "ok shows 2033-05-18 03:33:20 UTC"),
    ],
)
def test_clock(machine: FakeMachine, says: str | None, found: str) -> None:
    if says is not None:
        machine.command(ASK, says)
    assert summary(check_clock(an_installation(machine), lambda: LATER)) == [found]


def test_a_clock_that_lost_its_battery(machine: FakeMachine) -> None:
    (found,) = summary(check_clock(an_installation(machine), lambda: 1.0))
    assert found.startswith("error shows 1970-01-01 00:00:01 UTC, which is before")
