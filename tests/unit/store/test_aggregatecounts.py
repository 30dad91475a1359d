# SPDX-License-Identifier: MIT
"""What DMARC reports count, in each kind of store, by several processes at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.mailauth import aggregatecounts
from qpsmtpd.mailauth.aggregatecounts import KEPT, LEASE, PARTS, AggregateCounts
from qpsmtpd.testing import FakeClock, FakeStore
from tests.unit.mailauth.reporting import DAY, PUBLISHED, ROW, a_row
from tests.unit.store.stores import Subject
from tests.unit.store.test_contract import of_every_kind

OTHER = replace(PUBLISHED, domain="other.test")


def counting(store: FakeStore | None = None) -> tuple[AggregateCounts, FakeStore, FakeClock]:
    clock = FakeClock()
    store = store or FakeStore(clock)
    return AggregateCounts(store, clock), store, clock


@of_every_kind
async def test_several_processes_count_together(subject: Subject) -> None:
    """All at once, the first messages of each row among them: nothing is lost."""
    workers = [AggregateCounts(subject.store, FakeClock()) for _ in range(4)]
    rows = [a_row(source=f"192.0.2.{n}") for n in range(20)]
    counted = await asyncio.gather(
        *(worker.count(PUBLISHED, row) for row in rows for worker in workers for _ in range(3)),
        *(worker.count(OTHER, ROW) for worker in workers),
    )
    assert all(counted)
    reader = AggregateCounts(subject.store, FakeClock())
    assert await reader.domains(DAY) == ["author.test", "other.test"]
    found = await reader.rows(DAY, "author.test")
    assert {row.source: count for row, count in found} == {row.source: 12 for row in rows}
    assert await reader.rows(DAY, "author.test") == found
    assert await reader.rows(DAY, "other.test") == [(ROW, 4)]
    assert await reader.published(DAY, "other.test") == OTHER


@of_every_kind
async def test_one_has_a_claim(subject: Subject) -> None:
    counts = [AggregateCounts(subject.store, FakeClock()) for _ in range(5)]
    claims = await asyncio.gather(*(each.claim(DAY, "author.test") for each in counts))
    assert claims.count(True) == 1
    assert await counts[0].claim(DAY, "other.test")
    await counts[0].release(DAY, "author.test")
    assert await counts[1].claim(DAY, "author.test")


@of_every_kind
async def test_what_was_sent(subject: Subject) -> None:
    counts = AggregateCounts(subject.store, FakeClock())
    assert not await counts.is_sent(DAY, "author.test", "a@b.test")
    await counts.mark_sent(DAY, "author.test", "a@b.test")
    assert await counts.is_sent(DAY, "author.test", "a@b.test")
    assert not await counts.is_sent(DAY, "author.test", "b@b.test")
    assert not await counts.is_sent("2027-01-16", "author.test", "a@b.test")
    assert await counts.outcome(DAY, "author.test") == ""
    await counts.finish(DAY, "author.test", "sent")
    assert await counts.outcome(DAY, "author.test") == "sent"


async def test_days_are_apart() -> None:
    counts, _, clock = counting()
    await counts.count(PUBLISHED, ROW)
    clock.advance(86_400)
    await counts.count(PUBLISHED, ROW)
    await counts.count(PUBLISHED, ROW)
    assert await counts.rows(DAY, "author.test") == [(ROW, 1)]
    assert await counts.rows("2027-01-16", "author.test") == [(ROW, 2)]


async def test_the_last_policy_of_a_day() -> None:
    _, store, clock = counting()
    for published in (PUBLISHED, replace(PUBLISHED, policy="none")):
        await AggregateCounts(store, clock).count(published, ROW)
    reader = AggregateCounts(store, clock)
    found = await reader.published(DAY, "author.test")
    assert found is not None
    assert found.policy == "none"
    assert await reader.rows(DAY, "author.test") == [(ROW, 2)]


async def test_everything_is_forgotten() -> None:
    counts, _, clock = counting()
    await counts.count(PUBLISHED, ROW)
    await counts.mark_sent(DAY, "author.test", "a@b.test")
    await counts.finish(DAY, "author.test", "sent")
    clock.advance(KEPT - 1)
    assert await counts.rows(DAY, "author.test") == [(ROW, 1)]
    clock.advance(1)
    assert await counts.domains(DAY) == []
    assert await counts.rows(DAY, "author.test") == []
    assert await counts.published(DAY, "author.test") is None
    assert not await counts.is_sent(DAY, "author.test", "a@b.test")
    assert await counts.outcome(DAY, "author.test") == ""


async def test_a_claim_of_a_process_that_died_ends() -> None:
    counts, _, clock = counting()
    assert await counts.claim(DAY, "author.test")
    clock.advance(LEASE - 1)
    assert not await counts.claim(DAY, "author.test")
    clock.advance(1)
    assert await counts.claim(DAY, "author.test")


# --- limits ---------------------------------------------------------------------------------------


async def test_rows_of_a_domain_are_limited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aggregatecounts, "MAX_ROWS", 2 * PARTS)
    counts, store, clock = counting()
    rows = [a_row(source=f"10.0.{n}.1") for n in range(200)]
    counted = [await counts.count(PUBLISHED, row) for row in rows]
    assert counted.count(True) == len(await counts.rows(DAY, "author.test")) <= 2 * PARTS
    assert counted.count(True) > PARTS
    assert len(caplog.records) == 1
    assert "too many kinds" in caplog.text
    # What was there before is still counted, by others as well.
    there = rows[counted.index(True)]
    assert await AggregateCounts(store, clock).count(PUBLISHED, there)
    assert (there, 2) in await counts.rows(DAY, "author.test")
    assert not await counts.count(PUBLISHED, rows[counted.index(False)])


async def test_domains_of_a_day_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregatecounts, "MAX_DOMAINS", PARTS)
    counts, _, _ = counting()
    policies = [replace(PUBLISHED, domain=f"d{n}.test") for n in range(100)]
    counted = [await counts.count(each, ROW) for each in policies]
    assert counted.count(True) == len(await counts.domains(DAY)) <= PARTS


async def test_all_rows_of_a_day_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregatecounts, "MAX_ALL_ROWS", 10)
    _, store, clock = counting()
    policies = [replace(PUBLISHED, domain=f"d{n}.test") for n in range(20)]
    assert all([await AggregateCounts(store, clock).count(each, ROW) for each in policies[:7]])
    # A process that starts again meets rows that are there already: they are not new.
    again = AggregateCounts(store, clock)
    assert [await again.count(each, ROW) for each in policies] == [True] * 10 + [False] * 10
    clock.advance(86_400)
    assert await again.count(PUBLISHED, ROW)


async def test_what_a_process_remembers_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregatecounts, "MAX_KNOWN", 5)
    counts, _, _ = counting()
    for n in range(20):
        await counts.count(PUBLISHED, a_row(source=f"10.0.0.{n}"))
    assert len(counts._known) == 5
    await counts.count(PUBLISHED, a_row(source="10.0.0.0"))
    assert (a_row(source="10.0.0.0"), 2) in await counts.rows(DAY, "author.test")


async def test_a_store_that_is_down() -> None:
    counts, store, _ = counting()
    store.down = True
    with pytest.raises(StoreError):
        await counts.count(PUBLISHED, ROW)
    store.down = False
    assert await counts.count(PUBLISHED, ROW)
    store.down = True
    with pytest.raises(StoreError):
        await counts.count(PUBLISHED, ROW)
    store.down = False
    assert await counts.rows(DAY, "author.test") == [(ROW, 1)]


async def test_a_row_that_was_entered_and_never_counted_is_no_row() -> None:
    """A process died in between."""
    counts, _, _ = counting()
    await counts._enter(DAY, PUBLISHED, ROW)
    assert await counts.domains(DAY) == ["author.test"]
    assert await counts.rows(DAY, "author.test") == []
