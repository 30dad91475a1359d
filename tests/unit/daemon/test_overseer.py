# SPDX-License-Identifier: MIT
"""What a worker tells, and to whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.daemon import notify
from qpsmtpd.daemon.overseer import (
    ALIVE,
    NOT_RELOADED,
    READY,
    RELOADED,
    ServiceManager,
    ToSupervisor,
)
from tests.unit.client import on_both_loops


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's end and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_the_supervisor_hears(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    overseer = ToSupervisor(theirs, 5.0)
    assert overseer.interval == 5.0
    overseer.ready()
    overseer.reloading()
    overseer.reloaded(success=True)
    overseer.reloaded(success=False)
    overseer.alive()
    overseer.stopping()
    assert ours.recv(100) == READY + RELOADED + NOT_RELOADED + ALIVE


def test_a_supervisor_that_does_not_read_blocks_nobody(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    overseer = ToSupervisor(theirs, None)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for _ in range(10_000):
        overseer.alive()
    ours.close()
    overseer.alive()


@on_both_loops
async def test_a_supervisor_that_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        gone = asyncio.Event()
        ToSupervisor(theirs, None).when_gone(gone.set)
        await asyncio.sleep(0)
        assert not gone.is_set()
        ours.close()
        await gone.wait()


def test_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        overseer = ServiceManager()
        assert overseer.interval == 2.0
        told = []
        for tell in (overseer.ready, overseer.reloading, overseer.alive, overseer.stopping):
            tell()
            told.append(manager.recv(100).decode().splitlines()[0])
        assert told == ["READY=1", "RELOADING=1", "WATCHDOG=1", "STOPPING=1"]
        status = "READY=1\nSTATUS=Taking connections"
        overseer.reloaded(success=False)
        assert manager.recv(200).decode() == f"{status}; {notify.REFUSED}"
        overseer.reloaded(success=True)
        assert manager.recv(200).decode() == status
