# SPDX-License-Identifier: MIT
"""SqliteBackend: the store of one machine, a file that all its workers share.

A thread of its own carries out the batches; one that changes anything is a transaction.  The file
survives the death of any process (write-ahead log).  It holds nothing that cannot be learned
again: one that is damaged, or was made by another version, is moved aside, and a missing one is
made, with its directory.  Expired entries are removed little by little.

Times in the file are not those of the clock on the wall, which may be wrong when a machine starts,
and is set right later: entries would then be gone at once, or live for decades.  They are seconds
of a time that goes on while the machine is up, for all processes alike: its monotonic clock and a
base, which the file keeps.  Across a restart of the machine, `_base` carries it on.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd.errors import StoreError
from qpsmtpd.mail.scratch import make_again
from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.operation import (
    PAGE,
    Add,
    Count,
    Delete,
    Get,
    Increment,
    Operation,
    Page,
    Put,
    Replace,
    Scan,
)

log = logging.getLogger(__name__)

#: Entries removed in one go, and seconds until the next go after one that found fewer.
PURGED = 500
PURGE_INTERVAL = 60.0

#: The most seconds that the time of the store goes on while the machine is off: beyond that, a
#: wrong clock is as likely as a long rest.
MOST_AWAY = 86400.0

#: The version of the tables below, stored in the file.
_VERSION = 1
_TABLES = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS entry (name BLOB PRIMARY KEY, value NOT NULL, expires REAL NOT NULL)
        WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires);
    CREATE TABLE IF NOT EXISTS clock (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        base REAL NOT NULL, ticks REAL NOT NULL, wall REAL NOT NULL
    );
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""

_GET = "SELECT value FROM entry WHERE name = ? AND expires > ?"
_PUT = """
    INSERT INTO entry VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, expires = excluded.expires
"""
_DELETE = "DELETE FROM entry WHERE name = ?"
_INCREMENT = """
    INSERT INTO entry VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE SET
        value = CASE WHEN expires > ?4 THEN value + ?2 ELSE ?2 END,
        expires = CASE WHEN expires > ?4 THEN expires ELSE ?3 END
    RETURNING value
"""
_SCAN = """
    SELECT name, value FROM entry WHERE name > ? AND name >= ? AND name < ? AND expires > ?
    ORDER BY name LIMIT ?
"""
_PURGE = """
    DELETE FROM entry
    WHERE name IN (SELECT name FROM entry WHERE expires <= ? ORDER BY expires LIMIT ?)
"""

_CLOCK = "SELECT base, ticks, wall FROM clock"
_SET_CLOCK = "REPLACE INTO clock VALUES (1, ?, ?, ?)"

#: Errors whose names begin like this mean that the file is damaged.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class _Job(NamedTuple):
    """What the thread is to do; without a batch, to end."""

    batch: Sequence[Operation] | None
    loop: asyncio.AbstractEventLoop
    answers: asyncio.Future[Sequence[Any]]


class _Clock(NamedTuple):
    """The time of the store is base + ticks, those of the monotonic clock; wall is the date."""

    base: float
    ticks: float
    wall: float


def _base(last: _Clock | None, ticks: float, wall: float) -> float:
    """The base that makes the time of the store go on from what was last written."""
    if last is None:
        return wall - ticks
    if ticks >= last.ticks:
        return last.base
    # The machine was restarted meanwhile.
    away = min(max(wall - last.wall, 0.0), MOST_AWAY)
    return last.base + last.ticks + away - ticks


class SqliteBackend:
    """Implements guard.Backend."""

    def __init__(
        self, path: Path, timeout: float, clock: Clock, *, read_only: bool = False
    ) -> None:
        """Nothing is opened before the first batch.

        timeout: seconds to wait for other processes.  clock: for the times of entries.
        read_only: make and change nothing; whatever would is an error.
        """
        self.place = str(path)
        self._file = _File(path, timeout, clock, read_only)
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        """Carry out operations; if cancelled before they have begun, they are dropped."""
        if self._thread is None:
            # A disk that hangs must not keep the process from ending: hence a daemon thread.
            self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
            self._thread.start()
        return await self._in_thread(batch)

    async def close(self) -> None:
        """Close the file and end the thread."""
        if self._thread is not None:
            self._thread = None
            await self._in_thread(None)

    async def _in_thread(self, batch: Sequence[Operation] | None) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        job = _Job(batch, loop, loop.create_future())
        self._jobs.put(job)
        return await job.answers

    # --- the thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            if job.batch is None:
                self._file.close()
                _tell(job, ())
                return
            if not job.answers.done():
                _tell(job, self._outcome(job.batch))

    def _outcome(self, batch: Sequence[Operation]) -> Sequence[Any] | Exception:
        try:
            return self._file.run(batch)
        except Exception as error:  # of any kind: somebody is waiting for it
            return error


def _tell(job: _Job, outcome: Sequence[Any] | Exception) -> None:
    """Called in the thread.  Nobody waits on a loop that is closed."""
    with suppress(RuntimeError):
        job.loop.call_soon_threadsafe(_settle, job.answers, outcome)


def _settle(answers: asyncio.Future[Sequence[Any]], outcome: Sequence[Any] | Exception) -> None:
    if answers.done():
        return
    if isinstance(outcome, Exception):
        answers.set_exception(outcome)
    else:
        answers.set_result(outcome)


class _File:
    """The database; everything here happens in one thread."""

    def __init__(self, path: Path, timeout: float, clock: Clock, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._timeout = timeout
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._base = 0.0
        self._purge_at = 0.0

    def run(self, batch: Sequence[Operation]) -> list[Any]:
        """Carry out operations.  Raises StoreError."""
        try:
            try:
                return self._run(batch)
            except sqlite3.DatabaseError as error:
                if self._read_only or not _damaged(error):
                    raise
                self._replace(f"is damaged: {error}")
                return self._run(batch)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(getattr(error, "strerror", None) or str(error)) from error

    def close(self) -> None:
        """Close it, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self, batch: Sequence[Operation]) -> list[Any]:
        connection = self._open()
        now = self._base + self._clock.monotonic()
        if all(isinstance(operation, Get | Count | Scan) for operation in batch):
            return [_carry_out(connection, operation, now) for operation in batch]
        with _transaction(connection):
            answers = [_carry_out(connection, operation, now) for operation in batch]
            self._purge(connection, now)
        return answers

    def _purge(self, connection: sqlite3.Connection, now: float) -> None:
        if self._purge_at <= now:
            purged = connection.execute(_PURGE, (now, PURGED)).rowcount
            self._purge_at = now + (PURGE_INTERVAL if purged < PURGED else 0)
            self._note_time(connection)

    def _note_time(self, connection: sqlite3.Connection) -> None:
        """Write down how far the time of the store has come."""
        connection.execute(_SET_CLOCK, (self._base, self._clock.monotonic(), self._clock.now()))

    def _go_on(self, connection: sqlite3.Connection) -> None:
        """Find the time of the store, for all processes that come later as well."""
        with _transaction(connection):
            row = connection.execute(_CLOCK).fetchone()
            last = _Clock(*row) if row else None
            self._base = _base(last, self._clock.monotonic(), self._clock.now())
            self._note_time(connection)
        self._purge_at = 0.0

    # --- the file -----------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The connection; a new one when somebody has moved the file away."""
        if self._connection is not None and _inode(self._path) == self._inode:
            return self._connection
        self.close()
        if self._read_only:
            return self._open_to_read()
        if self._inode and not self._path.parent.exists():
            make_again(self._path.parent)
        # The file is made, and moved aside, by one process at a time.
        with _locked(self._path.parent):
            self._make()
            self._inode = _inode(self._path)
            self._connection = connection = sqlite3.connect(
                self._path, timeout=self._timeout, isolation_level=None
            )
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version in (0, _VERSION):
                # Synced at checkpoints only: a crash of the machine costs the last entries.
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_TABLES)
                self._go_on(connection)
                return connection
        self._replace(f"has version {version}, not {_VERSION}")
        return self._open()

    def _open_to_read(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
        )
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            connection.close()
            raise StoreError(f"has version {version}, not {_VERSION}")
        row = connection.execute(_CLOCK).fetchone()
        self._base = _base(
            _Clock(*row) if row else None, self._clock.monotonic(), self._clock.now()
        )
        self._connection, self._inode = connection, _inode(self._path)
        return connection

    def _replace(self, why: str) -> None:
        """Move the file aside, unless another process has done so already."""
        self.close()
        with _locked(self._path.parent):
            if _inode(self._path) != self._inode:
                return
            aside = self._path.with_name(f"{self._path.name}.bad")
            log.warning("store %s %s; moved it to %s, and made a new one", self._path, why, aside)
            self._path.rename(aside)

    def _make(self) -> None:
        """Make an empty file, if there is none."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        # The log of a file that is gone would be applied to this one.
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _carry_out(connection: sqlite3.Connection, operation: Operation, now: float) -> Any:
    match operation:
        case Get(name):
            return _value(connection, name, now)
        case Count(name):
            return _value(connection, name, now) or 0
        case Scan(beginning, cursor):
            return _page(connection, beginning, cursor, now)
        case Put(name, value, ttl):
            connection.execute(_PUT, (name, value, now + ttl))
        case Add(name, value, ttl):
            there = _value(connection, name, now)
            if there is None:
                connection.execute(_PUT, (name, value, now + ttl))
            return there
        case Replace(name, old, value, ttl):
            there = _value(connection, name, now)
            if there == old:
                connection.execute(_PUT, (name, value, now + ttl))
            return there
        case Delete(name):
            connection.execute(_DELETE, (name,))
        case Increment(name, by, ttl):
            return connection.execute(_INCREMENT, (name, by, now + ttl, now)).fetchone()[0]
    return None


def _value(connection: sqlite3.Connection, name: bytes, now: float) -> Any:
    row = connection.execute(_GET, (name, now)).fetchone()
    return None if row is None else row[0]


def _page(connection: sqlite3.Connection, beginning: bytes, cursor: bytes, now: float) -> Page:
    # No name has an octet of 255: it would not be UTF-8.
    end = beginning + b"\xff"
    entries = connection.execute(_SCAN, (cursor, beginning, end, now, PAGE)).fetchall()
    return Page(tuple(entries), entries[-1][0] if len(entries) == PAGE else b"")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _inode(path: Path) -> int:
    """The number of the file that has this name, 0 when there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)
