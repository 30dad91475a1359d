# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/daemon/jobs.py."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from qpsmtpd.daemon.jobs import LEASE, Jobs
from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.services import Store
from qpsmtpd.testing import FakeClock, FakeStore, services
from tests.unit.store import stores


class Ticks:
    """Sleeps end when told to; `slept` has how long each was to last."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._tick = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._tick.wait()

    async def tick(self) -> None:
        self._tick.set()
        self._tick = asyncio.Event()
        await turns()


async def turns() -> None:
    """Let everything go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Worker(Plugin[None]):
    """Counts how often it works."""

    def __init__(self, name: str, store: Store, error: Exception | None = None) -> None:
        super().__init__(name, None, services(store=store))
        self.worked = 0
        self.error = error
        self.services.every(60, self.work)

    async def work(self) -> None:
        self.worked += 1
        if self.error is not None:
            raise self.error


async def test_every_period_in_one_process_only() -> None:
    clock = FakeClock()
    store, ticks = FakeStore(clock), Ticks()
    one, other = Worker("w", store), Worker("w", store)
    jobs = [Jobs(worker.services, ticks.sleep) for worker in (one, other)]
    for job in jobs:
        job.begin()
    await turns()
    assert (one.worked, other.worked) == (1, 0)
    await ticks.tick()
    assert one.worked + other.worked == 1
    clock.advance(60 * LEASE)
    await ticks.tick()
    assert one.worked + other.worked == 2
    assert set(ticks.slept) == {60}
    for job in jobs:
        await job.end()


YEARS = 73 * 365 * 86400.0


@pytest.mark.parametrize("wrong", [YEARS, -YEARS], ids=["ahead", "behind"])
@pytest.mark.parametrize("kind", ["fake", "sqlite", "redis"])
async def test_a_lease_that_was_taken_while_the_clock_was_wrong(
    kind: str, wrong: float, tmp_path: Path
) -> None:
    """It neither lasts for decades nor is over before its time."""
    async with getattr(stores, kind)(tmp_path) as subject:
        worker = Worker("w", subject.store)
        worker.services.jobs[:] = [replace(worker.services.jobs[0], seconds=subject.short)]
        jobs = Jobs(worker.services)
        (job,) = worker.services.jobs
        subject.set_clock(wrong)
        assert await jobs._is_ours(job)
        subject.set_clock(-wrong)
        # A server of Redis forgets what was to end before the time that it is now.
        if (kind, wrong) != ("redis", -YEARS):
            assert not await jobs._is_ours(job)
        await subject.until(lambda: jobs._is_ours(job))


async def test_jobs_of_two_plugins_and_instances_are_apart() -> None:
    store = FakeStore()
    workers = [Worker(name, store) for name in ("a", "a:1", "b")]
    for worker in workers:
        jobs = Jobs(worker.services)
        jobs.begin()
        await turns()
        await jobs.end()
    assert [worker.worked for worker in workers] == [1, 1, 1]


@pytest.mark.parametrize(
    ("error", "level"), [(ValueError("x"), logging.ERROR), (StoreError("down"), logging.WARNING)]
)
async def test_a_fault_is_logged_and_the_next_turn_comes(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    store, ticks = FakeStore(clock), Ticks()
    worker = Worker("w", store, error)
    jobs = Jobs(worker.services, ticks.sleep)
    jobs.begin()
    await turns()
    (record,) = caplog.records
    assert (record.levelno, "job=w.work" in record.getMessage()) == (level, True)
    clock.advance(60)
    await ticks.tick()
    assert worker.worked == 2
    await jobs.end()


async def test_nothing_runs_while_the_store_is_down() -> None:
    store, ticks = FakeStore(down=True), Ticks()
    worker = Worker("w", store)
    jobs = Jobs(worker.services, ticks.sleep)
    jobs.begin()
    await turns()
    assert worker.worked == 0
    store.down = False
    await ticks.tick()
    assert worker.worked == 1
    await jobs.end()


async def test_the_end_cancels_what_runs() -> None:
    ended: list[bool] = []

    class Long(Plugin[None]):
        """Takes its time."""

        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    lent = services()
    lent.every(60, Long("long", None, lent).work)
    jobs = Jobs(lent)
    jobs.begin()
    await turns()
    await jobs.end()
    assert ended == [True]
