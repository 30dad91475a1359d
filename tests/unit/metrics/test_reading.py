# SPDX-License-Identifier: MIT
"""Files of the daemon: good, left behind, of others, and damaged."""

from __future__ import annotations

import errno
import fcntl
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.memory import HEAD, FiguresError, Memory, path_in
from qpsmtpd.metrics.reading import Distribution, NotRunningError, Totals, _at, read
from tests.unit.metrics.examples import Counting


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match=r"is not running, or .*: there is no"):
        read(tmp_path / "figures")


def test_a_file_that_was_left_behind(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    assert read(daemon.path).head.workers == 2
    fcntl.flock(daemon.memory._descriptor, fcntl.LOCK_UN)
    with pytest.raises(NotRunningError, match=r"has left .*figures behind"):
        read(daemon.path)


def test_the_group_may_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        daemon = Counting(tmp_path)
    finally:
        os.umask(before)
    assert daemon.path.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


@pytest.mark.parametrize("place", [0, 30, 100])
def test_a_head_of_another_version(tmp_path: Path, place: int) -> None:
    daemon = Counting(tmp_path)
    with daemon.path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff}\n{")
    with pytest.raises(FiguresError):
        read(daemon.path)


@pytest.mark.parametrize("size", [0, 10, HEAD, HEAD + 1000])
def test_a_file_that_is_too_short(tmp_path: Path, size: int) -> None:
    daemon = Counting(tmp_path)
    os.truncate(daemon.path, size)
    with pytest.raises(FiguresError):
        read(daemon.path)


def test_names_that_are_damaged(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    daemon.workers[0].count(catalogue.CONNECTIONS)
    daemon.memory.slot(0).names[:4] = b"\xff\xff\xff\xff"
    with pytest.raises(FiguresError, match="damaged"):
        read(daemon.path)


def test_metrics_of_another_version_are_passed_over(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    daemon.workers[0].count(catalogue.CONNECTIONS)
    daemon.workers[0].count(catalogue.STORE_OUTAGES)
    names = daemon.memory.slot(0).names
    place = bytes(names).index(b"qpsmtpd_store_outages")
    names[place : place + 7] = b"otherwd"
    reading = read(daemon.path)
    assert reading.number(catalogue.CONNECTIONS) == 1
    assert catalogue.STORE_OUTAGES not in reading.numbers


def test_where_it_is() -> None:
    assert path_in({"RUNTIME_DIRECTORY": "/run/a/b:/run/c"}) == Path("/run/a/b/figures")
    assert path_in({}) is None


def test_memory_without_a_place_is_nobody_elses() -> None:
    assert Memory(3).head.slots == 4


def test_a_file_that_does_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full file system, writing to it would end the process."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Counting(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_all_of_its_room(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    status = daemon.path.stat()
    assert status.st_blocks * 512 >= status.st_size == daemon.memory.head.size


def test_the_processes_that_live(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 3)
    daemon.memory.vacate(1)
    reading = read(daemon.path)
    assert [process.slot for process in reading.processes] == [0, 2]
    assert reading.number(catalogue.WORKERS) == 2
    assert reading.number(catalogue.WORKERS_WANTED) == 3


def test_sums_by_label(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    for worker in daemon.workers:
        worker.count(catalogue.DNS_LOOKUPS, "A", "found")
        worker.count(catalogue.DNS_LOOKUPS, "TXT", "found")
        worker.count(catalogue.DNS_LOOKUPS, "TXT", "empty")
    reading = read(daemon.path)
    assert reading.total(catalogue.DNS_LOOKUPS) == 6
    assert reading.total(catalogue.DNS_LOOKUPS, result="found") == 4
    assert reading.total(catalogue.DNS_LOOKUPS, result="found", type="A") == 2


BOUNDS = (1.0, 2.0, 4.0)


@given(st.lists(st.integers(0, 5), min_size=4, max_size=4), st.floats(0.01, 1))
def test_quantiles(counts: list[int], part: float) -> None:
    bound = Distribution(tuple(map(float, counts))).quantile(part, BOUNDS)
    values = sorted(b for b, n in zip((*BOUNDS, math.inf), counts, strict=True) for _ in range(n))
    assert bound == (values[math.ceil(part * len(values)) - 1] if values else 0.0)


def test_nothing_was_measured() -> None:
    assert Distribution().mean == Distribution().quantile(0.5, BOUNDS) == 0.0


def test_the_history_at_a_moment() -> None:
    history = [Totals(10.0, 1), Totals(20.0, 5)]
    assert _at(history, 9.0) == Totals(9.0)
    assert _at(history, 10.0).accepted == _at(history, 19.9).accepted == 1
    assert _at(history, 99.0).accepted == 5
