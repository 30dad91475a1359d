# SPDX-License-Identifier: MIT
"""The SQLite file: several processes, sudden ends, and what else can happen to a file."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Clock
from qpsmtpd.store import sqlite
from qpsmtpd.store.opening import SharedStore
from qpsmtpd.store.operation import Get, Put
from qpsmtpd.store.sqlite import SqliteBackend, _File
from qpsmtpd.testing import FakeClock
from tests.unit.client import PATIENCE, on_both_loops

LONG = 3600.0

#: Increments a counter, often or for every line of input, and says each sum.
COUNTING = """
import asyncio, sys
from pathlib import Path
from qpsmtpd.store.opening import shared_store

async def main():
    store = shared_store(Path(sys.argv[1]), 20)
    for _ in range(int(sys.argv[2])) if sys.argv[2:] else sys.stdin:
        # A batch that reads before it writes.
        _, total = await asyncio.gather(store.add("b", b"", 3600), store.increment("a", 1, 3600))
        print(total, flush=True)
    await store.close()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def opened(path: Path, clock: Clock | None = None) -> AsyncIterator[SharedStore]:
    store = SharedStore(SqliteBackend(path, PATIENCE, clock or FakeClock()), PATIENCE)
    try:
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def counting(path: Path, *count: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(path), *count],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
        return count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


async def test_nothing_is_made_before_it_is_used(path: Path) -> None:
    async with opened(path):
        pass
    assert not path.exists()


async def test_nobody_else_may_read_it(path: Path) -> None:
    async with opened(path) as store:
        await store.put("a", b"1", LONG)
        files = list(path.parent.iterdir())
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        assert path in files


async def test_it_is_there_again(path: Path) -> None:
    async with opened(path) as store:
        await store.put("a", b"1", LONG)
        await store.increment("a", 7, LONG)
    async with opened(path) as store:
        assert await store.get("a") == b"1"
        assert await store.count("a") == 7


# --- time -----------------------------------------------------------------------------------------

DAY = 86400.0
YEARS = 73 * 365 * DAY


def after_boot(uptime: float, wall: float) -> FakeClock:
    """The clock of a machine that has been up for so long, and believes that it is then."""
    clock = FakeClock(uptime)
    clock.jump(wall - uptime)
    return clock


async def left(path: Path, clock: FakeClock) -> set[str]:
    """Which of the entries of `aged` are still there."""
    async with opened(path, clock) as store:
        return {name for name in ("hour", "week", "year") if await store.get(name) is not None}


async def aged(path: Path, clock: FakeClock) -> None:
    """Write entries that live for an hour, a week and a year."""
    async with opened(path, clock) as store:
        for name, ttl in (("hour", 3600.0), ("week", 7 * DAY), ("year", 365 * DAY)):
            await store.put(name, b"", ttl)


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("wall", "there"),
    [
        (NOW + 60, {"hour", "week", "year"}),
        (NOW + 2 * 3600, {"week", "year"}),
        (NOW + 30 * DAY, {"week", "year"}),
        (NOW + YEARS, {"week", "year"}),
        (0.0, {"hour", "week", "year"}),
    ],
    ids=["soon", "later", "a month later", "2099", "1970"],
)
async def test_a_machine_that_was_restarted(path: Path, wall: float, there: set[str]) -> None:
    """While it was off, a day may have passed: beyond that, its clock is not believed."""
    await aged(path, after_boot(5000, NOW))
    clock = after_boot(10, wall)
    assert await left(path, clock) == there
    # And then the clock is set right.
    clock.jump(NOW + 100 - wall)
    assert await left(path, clock) == there
    clock.advance(8 * DAY)
    assert await left(path, clock) == {"year"}
    clock.advance(365 * DAY)
    assert await left(path, clock) == set()


@pytest.mark.parametrize("wall", [NOW + YEARS, 0.0], ids=["2099", "1970"])
async def test_what_was_written_while_the_clock_was_wrong(path: Path, wall: float) -> None:
    clock = after_boot(10, wall)
    await aged(path, clock)
    clock.jump(NOW - wall)
    clock.advance(60)
    assert await left(path, clock) == {"hour", "week", "year"}
    clock.advance(3600)
    assert await left(path, clock) == {"week", "year"}
    # The next start, with the right time.
    assert await left(path, after_boot(10, NOW + 2 * DAY)) == {"week", "year"}


async def test_a_daemon_that_was_stopped(path: Path) -> None:
    """The machine's monotonic clock has counted the time meanwhile, whatever the other one says."""
    clock = after_boot(5000, NOW)
    await aged(path, clock)
    clock.jump(-YEARS)
    clock.advance(8 * DAY)
    assert await left(path, clock) == {"year"}


async def test_all_processes_have_the_same_time(path: Path) -> None:
    one, other = after_boot(5000, NOW), after_boot(5000, NOW)
    async with opened(path, one) as first, opened(path, other) as second:
        await first.put("a", b"1", 100)
        other.jump(YEARS)
        assert await second.get("a") == b"1"
        for clock in (one, other):
            clock.advance(99)
        assert [await first.get("a"), await second.get("a")] == [b"1", b"1"]
        for clock in (one, other):
            clock.advance(1)
        assert [await first.get("a"), await second.get("a")] == [None, None]


async def test_how_far_the_time_has_come_is_noted_now_and_then(path: Path) -> None:
    """So what was written long before the machine went off is old after its restart."""
    clock = after_boot(5000, NOW)
    await aged(path, clock)
    async with opened(path, clock) as store:
        clock.advance(6 * DAY)
        await store.put("other", b"", DAY)
    clock = after_boot(10, NOW + 6 * DAY)
    assert await left(path, clock) == {"week", "year"}
    clock.advance(2 * DAY)
    assert await left(path, clock) == {"year"}


# --- several processes --------------------------------------------------------------------------


def test_processes_count_together(path: Path) -> None:
    with counting(path, "200") as one, counting(path, "200") as other:
        assert one.stdout
        assert other.stdout
        sums = [*map(int, one.stdout), *map(int, other.stdout)]
    assert sorted(sums) == list(range(1, 401))


async def test_a_process_is_killed(path: Path) -> None:
    """What it was told to be written is there, and the next one goes on."""
    with counting(path, "1000000") as process:
        assert process.stdout
        last = 0
        while last < 100:
            last = int(process.stdout.readline())
        process.kill()
        last = max([last, *(int(line) for line in process.stdout if line.endswith("\n"))])
    async with opened(path, Clock()) as store:
        # One more may have been written, and not been said.
        assert await store.increment("a", 1, LONG) - 1 in (last, last + 1)


@on_both_loops
async def test_another_process_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = SharedStore(SqliteBackend(path, 0.01, FakeClock()), PATIENCE)
    await store.put("a", b"1", LONG)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await store.get("a") == b"1"
        with pytest.raises(StoreError, match="locked"):
            await store.put("a", b"2", LONG)
    await store.close()


@on_both_loops
async def test_a_disk_that_hangs(tmp_path: Path) -> None:
    """The caller goes on at its deadline; the thread drops what it has not begun."""
    store = SharedStore(SqliteBackend(tmp_path / "store", PATIENCE, FakeClock()), PATIENCE)
    await store.put("a", b"1", LONG)
    store._guard._timeout = 0.01
    with contextlib.closing(sqlite3.connect(tmp_path / "store", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"no answer within 0\.01s"):
            await store.put("a", b"2", LONG)
        with pytest.raises(StoreError, match="no answer"):
            await store.get("a")
        await store.close()


# --- what can happen to a file ------------------------------------------------------------------


async def test_a_damaged_file_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"no database" * 1000)
    async with opened(path) as store:
        assert await store.increment("a", 1, LONG) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"store {path} is damaged: file is not a database;"
        f" moved it to {path}.bad, and made a new one"
    ]
    assert Path(f"{path}.bad").read_bytes() == b"no database" * 1000


async def test_a_file_that_is_damaged_in_use(path: Path) -> None:
    """Whoever notices replaces it, once, and the others follow."""
    async with opened(path) as one, opened(path) as other:
        for store in (one, other):
            await asyncio.gather(*(store.put(f"{n}", b"x" * 999, LONG) for n in range(500)))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"damaged!" * (path.stat().st_size // 8 - 512))
        async with opened(path) as third:
            assert await third.get("1") is None
            assert await third.increment("a", 1, LONG) == 1
        assert await one.increment("a", 1, LONG) == 2
        assert await other.increment("a", 1, LONG) == 3
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.bad"]


async def test_a_file_that_is_removed(path: Path) -> None:
    async with opened(path) as one, opened(path) as other:
        await one.put("a", b"1", LONG)
        assert await other.get("a") == b"1"
        path.unlink()
        assert await one.get("a") is None
        assert await one.increment("a", 1, LONG) == 1
        assert await other.increment("a", 1, LONG) == 2


async def test_a_file_that_is_removed_under_another_process(path: Path) -> None:
    with counting(path) as process:

        def other() -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        async with opened(path, Clock()) as store:
            for number in range(1, 40, 2):
                assert other() == number
                assert await store.increment("a", 1, LONG) == number + 1
            path.unlink()
            for number in range(1, 40, 2):
                assert await store.increment("a", 1, LONG) == number
                assert other() == number + 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_who_notices_too_late_moves_nothing(path: Path) -> None:
    """Another process has replaced the file between our look at it and the damage we found."""
    old = _File(path, PATIENCE, FakeClock())
    old.run([Put(b"value|a", b"1", LONG)])
    path.rename(f"{path}.bad")
    async with opened(path) as store:
        await store.put("a", b"2", LONG)
        old._replace("is damaged")
        assert await store.get("a") == b"2"
    assert old.run([Get(b"value|a")]) == [b"2"]
    old.close()


async def test_its_directory_was_removed(tmp_path: Path) -> None:
    """By default it is that of scratch files, which may be in /tmp, where cleaners are at work."""
    path = tmp_path / "spool" / "store"
    path.parent.mkdir()
    async with opened(path) as store:
        await store.put("a", b"1", LONG)
        shutil.rmtree(path.parent)
        await store.put("a", b"2", LONG)
        assert await store.get("a") == b"2"


async def test_a_file_of_another_version(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(path) as store:
        await store.put("a", b"1", LONG)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    async with opened(path) as store:
        assert await store.get("a") is None
        await store.put("a", b"1", LONG)
    assert "has version 99, not 1" in caplog.text


@pytest.mark.parametrize("place", ["no/such/directory/store", "."])
async def test_a_place_that_cannot_be(place: str, tmp_path: Path) -> None:
    async with opened(tmp_path / place) as store:
        with pytest.raises(StoreError, match=r"No such file|unable to open|Is a directory"):
            await store.get("a")


async def test_a_full_disk(path: Path) -> None:
    async with opened(path) as store:
        await store.put("a", b"1", LONG)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(StoreError):
                await store.put("b", b"x" * 1_000_000, LONG)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    async with opened(path) as store:
        assert await store.get("a") == b"1"
        await store.put("b", b"x" * 1_000_000, LONG)


async def test_a_failed_batch_changes_nothing(path: Path) -> None:
    wrong: Any = ["no", "bytes"]
    async with opened(path) as store:
        outcomes = await asyncio.gather(
            store.put("a", b"1", LONG), store.put("b", wrong, LONG), return_exceptions=True
        )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    async with opened(path) as store:
        assert await store.get("a") is None
        await store.put("a", b"1", LONG)


# --- what is over -------------------------------------------------------------------------------


async def test_what_is_over_is_removed_little_by_little(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PURGED", 10)
    clock = FakeClock()
    async with opened(path, clock) as store:
        await asyncio.gather(*(store.put(str(n), b"x", 60) for n in range(25)))
        await store.put("stays", b"x", LONG)
        clock.advance(61)
        left = []
        for _ in range(4):
            await store.put("stays", b"x", LONG)
            left.append(rows(path))
        assert left == [16, 6, 1, 1]
        await store.put("short", b"x", 1)
        clock.advance(2)
        await store.put("stays", b"x", LONG)
        # Not looked for again so soon.
        assert rows(path) == 2
        clock.advance(sqlite.PURGE_INTERVAL)
        await store.put("stays", b"x", LONG)
        assert rows(path) == 1


async def test_the_thread_ends(path: Path) -> None:
    backend = SqliteBackend(path, PATIENCE, FakeClock())
    store = SharedStore(backend, PATIENCE)
    await store.put("a", b"1", LONG)
    thread = backend._thread
    assert thread is not None
    await store.close()
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()


async def test_who_only_reads_makes_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    reader = SqliteBackend(file, 10, FakeClock(), read_only=True)
    with pytest.raises(StoreError):
        await reader.run([Get(b"name")])
    assert not list(tmp_path.iterdir())
    writer = SqliteBackend(file, 10, FakeClock())
    await writer.run([Put(b"name", b"value", 60)])
    assert await reader.run([Get(b"name")]) == [b"value"]
    with pytest.raises(StoreError):
        await reader.run([Put(b"name", b"other", 60)])
    assert await writer.run([Get(b"name")]) == [b"value"]
    await reader.close()
    await writer.close()
