# SPDX-License-Identifier: MIT
"""SharedCounts: events counted by all who share a store, and by each while it is down."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.store import counts
from qpsmtpd.store.counts import SharedCounts
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import FakeClock, FakeStore


async def test_a_window_begins_with_its_first_event() -> None:
    clock = FakeClock()
    counted = SharedCounts(FakeStore(clock), clock, 60)
    assert await counted.add("a") == 1
    clock.advance(59)
    assert [await counted.add("a"), await counted.add("b")] == [2, 1]
    clock.advance(1)
    assert [await counted.add("a"), await counted.add("b")] == [1, 2]


async def test_what_is_taken_back_has_not_happened() -> None:
    clock = FakeClock()
    counted = SharedCounts(FakeStore(clock), clock, 60)
    for _ in range(3):
        await counted.add("a")
    await counted.take_back("a")
    assert await counted.add("a") == 3


async def test_others_count_too() -> None:
    clock = FakeClock()
    store = FakeStore(clock)
    one, other = SharedCounts(store, clock, 60), SharedCounts(store, clock, 60)
    assert [await one.add("a"), await other.add("a"), await one.add("a")] == [1, 2, 3]


async def test_the_count_goes_on_without_the_store() -> None:
    clock = FakeClock()
    store = FakeStore(clock)
    counted = SharedCounts(store, clock, 60)
    await counted.add("a")
    store.down = True
    assert [await counted.add("a"), await counted.add("a")] == [2, 3]
    await counted.take_back("a")
    assert await counted.add("a") == 3


async def test_only_so_many_keys_are_kept_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_KEYS", 3)
    clock = FakeClock()
    counted = SharedCounts(FakeStore(clock, down=True), clock, 60)
    for key in "abcd":
        await counted.add(key)
    assert [await counted.add(key) for key in "dcba"] == [2, 2, 2, 1]


async def test_processes_count_together_in_a_file(tmp_path: Path) -> None:
    """Each with a connection of its own, as workers have them."""
    location, clock = parse_location(str(tmp_path / "store.sqlite")), FakeClock()
    stores = [shared_store(location, timeout=60) for _ in range(2)]
    one, other = (SharedCounts(store.scoped("failed logins"), clock, 60) for store in stores)
    assert [await one.add("a"), await other.add("a"), await one.add("a")] == [1, 2, 3]
    await other.take_back("a")
    assert await one.add("a") == 3
    for store in stores:
        await store.close()
