# SPDX-License-Identifier: MIT
"""Stress is noticed, passed on, and logged when it begins and when it ends."""

from __future__ import annotations

import pytest

from qpsmtpd.daemon.stress import Stress


class Watched:
    """Stress that was looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.grades: list[int] = []
        self.stress = Stress(lambda: self.now, self.grades.append)

    def look(self, *parts: float, is_logged: bool = True) -> None:
        for part in parts:
            self.now += 1
            self.stress.look(part, 80, is_logged=is_logged)


def test_only_changes_are_passed_on() -> None:
    watched = Watched()
    watched.look(0.1, 0.8, 0.85, 0.9, 0.99, 0.99, 0.5, 0.4)
    assert watched.grades == [1, 2, 3, 0]
    assert watched.stress.grade == 0


def test_one_line_when_it_begins_and_one_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.look(0.1, 0.81, 0.95, 0.8, 0.75, 0.95, 0.3, 0.2)
    begin, end = caplog.messages
    assert begin == "stress begins: clients have less time connections=81% grade=1"
    assert end == "stress ends seconds=5 highest_grade=3"
    watched.look(0.9, 0.1)
    assert caplog.messages[3:] == ["stress ends seconds=1 highest_grade=2"]


def test_one_worker_says_it_for_all(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.look(0.9, is_logged=False)
    watched.look(0.1)
    assert watched.grades == [2, 0]
    assert caplog.messages == []
