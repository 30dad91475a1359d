# SPDX-License-Identifier: MIT
"""cache.py: what is remembered, for how long, and how much of it."""

from __future__ import annotations

import pytest

from qpsmtpd.dns import cache
from qpsmtpd.dns.cache import Cache
from qpsmtpd.dns.lookup import Question
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import DnsAnswer
from qpsmtpd.testing import FakeClock


def q(name: str) -> Question:
    return "TXT", name.encode()


def answer(*texts: str) -> DnsAnswer:
    return DnsAnswer(texts, True)


def test_an_outcome_is_remembered_for_as_long_as_it_holds() -> None:
    clock = FakeClock()
    known = Cache(10, clock)
    assert known.get(q("a")) is None
    known.put(q("a"), answer("x"), 60)
    clock.advance(59)
    assert known.get(q("a")) == answer("x")
    clock.advance(1)
    assert known.get(q("a")) is None


def test_what_holds_for_no_time_is_not_remembered_and_nothing_before_it() -> None:
    known = Cache(10, FakeClock())
    known.put(q("a"), answer("x"), 60)
    known.put(q("a"), answer("y"), 0)
    assert known.get(q("a")) is None


def test_the_oldest_are_forgotten_first() -> None:
    known = Cache(2, FakeClock())
    for name in ("a", "b", "a", "c"):
        known.put(q(name), answer(name), 60)
    assert [known.get(q(name)) is not None for name in "abc"] == [True, False, True]


def test_long_answers_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_CHARACTERS", 10_000)
    known = Cache(1000, FakeClock())
    for number in range(9):
        known.put(q(str(number)), DnsAnswer(((10, "x" * 2000), (20, "y" * 2000)), True), 60)
    assert [known.get(q(str(number))) is not None for number in range(9)] == [False] * 7 + [
        True
    ] * 2
    for number in range(100):
        known.put(q(f"short {number}"), DnsError("SERVFAIL"), 60)
    assert sum(known.get(q(f"short {number}")) is not None for number in range(100)) == 25
    assert known.get(q("8")) is None


def test_clear() -> None:
    known = Cache(2, FakeClock())
    known.put(q("a"), answer("x"), 60)
    known.clear()
    assert known.get(q("a")) is None
