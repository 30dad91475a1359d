# SPDX-License-Identifier: MIT
"""Supervision, without workers; tests/integration/test_workers.py runs some."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import supervisor
from qpsmtpd.daemon.overseer import ALIVE, READY
from qpsmtpd.daemon.supervisor import Supervisor
from qpsmtpd.daemon.worker import EXIT_CONFIG
from qpsmtpd.metrics.memory import Memory
from qpsmtpd.testing import FakeClock
from tests.unit.client import catching
from tests.unit.daemon_process import configure

# --- loading a configuration ------------------------------------------------------------------

#: Waits while it starts: whoever is the first to find "first", or all that reload a configuration.
WAITS = """
import asyncio, os, signal
from pathlib import Path
from qpsmtpd.api import *

def pass_gate():
    os.read(os.open(Path(__file__).with_name("gate"), os.O_RDONLY), 1)

class Waits(Plugin[NoOptions]):
    async def start(self):
        hold = Path(__file__).with_name("hold")
        mode = hold.read_text() if hold.exists() else ""
        if mode == "first":
            hold.unlink()
        elif mode != "reload" or signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            return
        self.log.warning("waits")
        await asyncio.to_thread(pass_gate)
        self.log.warning("goes on")

    async def hook_quit(self, session): ...
"""


def with_gate(tmp_path: Path) -> Path:
    """A configuration whose plugin waits until somebody writes into the pipe "gate"."""
    (tmp_path / "waits.py").write_text(WAITS)
    os.mkfifo(tmp_path / "gate")
    return configure(tmp_path, catching(tmp_path, "waits"))


def test_loading_a_configuration_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = with_gate(tmp_path)
    (directory / "hold").write_text("first")
    monkeypatch.setattr(supervisor, "CHECK_SECONDS", 0.2)
    with supervising(directory) as watching:
        watching._started = watching._reloading = True
        watching._check()
        assert watching._checker is not None
        _, status = os.waitpid(watching._checker, 0)
        watching._checked(os.waitstatus_to_exitcode(status))
    assert "loading the configuration takes more than 0.2 seconds" in caplog.text
    assert "the old configuration stays in use" in caplog.text


# --- the pace, without processes --------------------------------------------------------------

PID = 7


@contextmanager
def supervising(directory: Path) -> Iterator[Supervisor]:
    """A supervisor of two that does not run."""
    watching = Supervisor(RunOptions(config=(directory,)), (), Memory(2))
    try:
        yield watching
    finally:
        for worker in watching._workers.values():
            worker.connection.close()
        for end in (watching._signals, watching._signalled, watching._selector):
            end.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(supervisor, "time", clock)
    return clock


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that workers get, with their process ids."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(supervisor, "_send", lambda *signal: sent.append(signal))
    return sent


def add_worker(watching: Supervisor, clock: FakeClock, pid: int = PID) -> socket.socket:
    """Of which nothing has been heard; its end of the connection."""
    ours, theirs = socket.socketpair()
    now = clock.monotonic()
    watching._workers[pid] = supervisor._Worker(ours, pid % 2, started=now, heard=now)
    watching._selector.register(ours, selectors.EVENT_READ, pid)
    return theirs


def test_who_is_silent_is_aborted_and_then_killed(
    tmp_path: Path, clock: FakeClock, sent: list[tuple[int, int]]
) -> None:
    """Also one that has never said that it is alive."""
    with supervising(tmp_path) as watching:
        watching._watchdog = 1.0
        with add_worker(watching, clock):
            for seconds, signals in [
                (supervisor.LEAST_SILENCE - 1, []),
                (1, [(PID, signal.SIGABRT)]),
                (supervisor.LEAST_SILENCE / 2 - 1, []),
                (1, [(PID, signal.SIGKILL)]),
            ]:
                clock.advance(seconds)
                watching._run_due()
                assert sent == signals
                sent.clear()


def test_who_is_heard_of_does_not_hang(
    tmp_path: Path, clock: FakeClock, sent: list[tuple[int, int]]
) -> None:
    with supervising(tmp_path) as watching:
        watching._watchdog = 20.0  # the service manager is patient
        with add_worker(watching, clock) as theirs:
            for seconds in (39, 39, 40):
                clock.advance(seconds)
                watching._run_due()
                theirs.send(ALIVE)
                watching._hear(PID)
            clock.advance(40)
            watching._run_due()
    # That it was aborted before is forgotten with its next word.
    assert sent == [(PID, signal.SIGABRT)] * 2


def test_who_never_takes_a_connection_is_tried_more_and_more_seldom(
    tmp_path: Path, clock: FakeClock
) -> None:
    """And like any other when one did, be it another one."""
    with supervising(tmp_path) as watching:
        watching._started = True

        def pause(*ready: int) -> float:
            with add_worker(watching, clock) as one, add_worker(watching, clock, 8) as another:
                for pid, theirs in ((PID, one), (8, another)):
                    if pid in ready:
                        theirs.send(READY)
                        watching._hear(pid)
            watching._restart_at = 0.0
            watching._on_exit(PID, EXIT_CONFIG)
            other = watching._workers.pop(8).connection
            watching._selector.unregister(other)
            other.close()
            return watching._restart_at - clock.monotonic()

        assert [pause() for _ in range(6)] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert [pause(PID), pause(), pause(), pause(8), pause()] == [1.0, 2.0, 4.0, 2.0, 4.0]


def test_the_next_worker_starts_when_it_is_time(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not sooner because a better one dies as well; only a reload does away with the pause."""
    started: list[float] = []
    with supervising(tmp_path) as watching:
        monkeypatch.setattr(watching, "_start_worker", lambda: started.append(clock.monotonic()))
        watching._started = True
        for pid in (8, 9):
            add_worker(watching, clock, pid).close()
        watching._workers[9].ready = True
        for pid in (8, 9):
            watching._on_exit(pid, -signal.SIGKILL)
        for seconds, wait, count in [(1.5, 0.5, 0), (0.25, 0.25, 0), (0.25, 0.0, 2), (1, 0.0, 4)]:
            clock.advance(seconds)
            assert watching._seconds_to_wait() == wait
            watching._run_due()
            assert len(started) == count
        watching._restart_at = clock.monotonic() + 30
        watching._failures = 5
        watching._reload_workers()
        assert watching._seconds_to_wait() == 0.0
        watching._run_due()
        assert len(started) == 6
        assert watching._failures == 0


@pytest.mark.parametrize(
    ("status", "exit_status"), [(EXIT_CONFIG, EXIT_CONFIG), (-signal.SIGKILL, 1), (1, 1)]
)
def test_a_first_check_that_fails_is_the_end(tmp_path: Path, status: int, exit_status: int) -> None:
    """Also when it was killed, which a service manager must not take for success."""
    with supervising(tmp_path) as watching:
        watching._checked(status)
        assert watching._stopping
        assert watching._status == exit_status
