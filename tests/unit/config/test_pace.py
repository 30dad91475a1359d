# SPDX-License-Identifier: MIT
"""What stress leaves of time-outs and counters, and when it begins and ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.pace import (
    HYSTERESIS,
    LEAST_ERRORS,
    LEAST_JUNK,
    LEAST_SECONDS,
    SHARES,
    Pace,
    begins_at,
    grade_of,
)
from qpsmtpd.config.settings import Settings
from qpsmtpd.plugin.options import Seconds
from tests.unit.fakewire import a_snapshot

HIGHEST = len(SHARES) - 1


def allowed(pace: Pace) -> tuple[float, float, int, int]:
    return pace.command, pace.data, pace.max_errors, pace.max_junk_commands


def test_without_stress_the_settings_hold() -> None:
    pace = Pace(Settings(timeout=Seconds(300), timeoutsmtpd=Seconds(60), max_errors=7))
    assert (pace.grade, allowed(pace)) == (0, (60, 300, 7, 100))


def test_each_grade_leaves_less_but_never_too_little() -> None:
    pace = Pace(Settings())
    found = []
    for grade in range(HIGHEST + 1):
        pace.set(grade)
        found.append(allowed(pace))
    assert found == [(300, 300, 100, 100), (100, 100, 33, 33), (30, 30, 10, 10), (10, 10, 5, 10)]
    pace.set(0)
    assert allowed(pace) == found[0]


def test_settings_that_are_less_stay_as_they_are() -> None:
    pace = Pace(Settings(timeout=Seconds(2), max_errors=1, max_junk_commands=3))
    pace.set(HIGHEST)
    assert allowed(pace) == (2, 2, 1, 3)


settings = st.builds(
    Settings,
    timeout=st.floats(1, 1e5).map(Seconds),
    max_errors=st.integers(1, 10**6),
    max_junk_commands=st.integers(1, 10**6),
)


@given(settings, st.integers(1, HIGHEST))
def test_no_grade_gives_more_than_the_one_below(settings: Settings, grade: int) -> None:
    pace, below = Pace(settings), Pace(settings)
    pace.set(grade)
    below.set(grade - 1)
    pairs = zip(allowed(pace), allowed(below), strict=True)
    assert all(one <= other for one, other in pairs)
    least = (LEAST_SECONDS, LEAST_SECONDS, LEAST_ERRORS, LEAST_JUNK)
    whole = allowed(Pace(settings))
    assert all(
        one >= min(other, floor)
        for one, other, floor in zip(allowed(pace), whole, least, strict=True)
    )


@pytest.mark.parametrize(
    ("part", "grade"),
    [
        (0.0, 0),
        (0.799, 0),
        (0.8, 1),
        (0.86, 1),
        (0.87, 2),
        (0.93, 2),
        (0.94, 3),
        (1.0, 3),
        (2.0, 3),
    ],
)
def test_where_grades_begin(part: float, grade: int) -> None:
    assert grade_of(part, 80) == grade


def test_a_grade_ends_later_than_it_has_begun() -> None:
    grade, found = 0, []
    for part in (0.81, 0.79, 0.73, 0.71, 0.79, 0.95, 0.85, 0.83, 0.77, 0.1):
        grade = grade_of(part, 80, grade)
        found.append(grade)
    assert found == [1, 1, 1, 0, 0, 3, 3, 2, 1, 0]


def test_never() -> None:
    assert grade_of(5.0, 0, 3) == 0
    assert [grade_of(part, 100) for part in (0.99, 1.0)] == [0, HIGHEST]


@given(st.floats(0, 2), st.floats(0, 2), st.integers(1, 100), st.integers(0, HIGHEST))
def test_grades_follow_the_connections(
    one: float, other: float, percent: int, current: int
) -> None:
    less, more = sorted((one, other))
    assert grade_of(less, percent, current) <= grade_of(more, percent, current)
    grade = grade_of(one, percent, current)
    assert grade_of(one, percent, grade) == grade
    if grade:
        assert one >= begins_at(grade, percent) * HYSTERESIS


def test_a_snapshot_has_one() -> None:
    snapshot = a_snapshot(timeout=Seconds(90))
    assert snapshot.pace is snapshot.pace
    assert snapshot.pace.command == 90
