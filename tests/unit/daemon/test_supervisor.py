# SPDX-License-Identifier: MIT
"""Supervision: signals that reach every worker, workers that die, hang, or cannot start."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import notify, supervisor
from qpsmtpd.daemon.overseer import ALIVE, READY
from qpsmtpd.daemon.supervisor import Supervisor
from qpsmtpd.daemon.worker import EXIT_CONFIG
from qpsmtpd.metrics.memory import Memory
from qpsmtpd.testing import FakeClock
from tests.unit.client import Client, catching, until
from tests.unit.daemon_process import Daemon, configure, running

#: Tells which worker it is; its EHLO keyword is the process id.
WHO = """
import os
from qpsmtpd.api import *

class Who(Plugin[NoOptions]):
    async def hook_ehlo(self, session, host):
        session.capabilities.append(f"XPID {os.getpid()}")
"""


TWO = "Taking connections with 2 workers"


def with_names(tmp_path: Path) -> Path:
    """A configuration whose workers tell their process ids."""
    (tmp_path / "who.py").write_text(WHO)
    return configure(tmp_path, catching(tmp_path, "who"))


async def worker_of(client: Client) -> int:
    """The process id of the worker that serves this client."""
    reply = await client.command("EHLO x")
    return int(reply.partition("XPID ")[2].split()[0])


async def one_of_each(daemon: Daemon, port: int) -> dict[int, Client]:
    """A client of each worker."""
    clients: dict[int, Client] = {}
    while len(clients) < 2:
        client = await daemon.client(port)
        pid = await worker_of(client)
        if pid in clients:
            await client.close()
        else:
            clients[pid] = client
    return clients


async def close(*clients: Client) -> None:
    for client in clients:
        await client.close()


async def test_two_workers(tmp_path: Path) -> None:
    """One is killed and replaced, the other one goes on; then all stop."""
    async with running(with_names(tmp_path), workers=2) as daemon:
        port = await daemon.port()
        assert await daemon.notified() == ["READY=1", f"STATUS={TWO}"]
        clients = await one_of_each(daemon, port)
        assert sorted(clients) == daemon.children()
        victim, survivor = clients
        os.kill(victim, signal.SIGKILL)
        assert "status=-9, starting another" in await daemon.logged(f"worker ended pid={victim}")
        assert await clients[survivor].command("NOOP") == "250 2.0.0 OK"
        await daemon.logged("worker started pid=")
        assert len(daemon.children()) == 2
        assert survivor in daemon.children()
        assert victim not in daemon.children()
        again = await one_of_each(daemon, port)
        assert survivor in again

        envelope = ["MAIL FROM:<>", "RCPT TO:<user@example.test>", "DATA"]
        in_data = again.pop(survivor)
        assert await in_data.commands(*envelope) == [250, 250, 354]
        daemon.signal(signal.SIGTERM)
        assert await daemon.notified() == ["STOPPING=1"]
        for idle in (clients[survivor], *again.values()):
            assert await idle.reply() == "421 4.3.2 Service shutting down"
        assert await in_data.deliver() == "250 2.0.0 Caught"
        assert await daemon.ended() == 0
        assert "Traceback" not in daemon.log
        await close(*clients.values(), *again.values(), in_data)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_watchdog_hears_of_us(tmp_path: Path, workers: int) -> None:
    environment = {"WATCHDOG_USEC": "20000"}
    directory = configure(tmp_path)
    async with running(directory, workers=workers, environment=environment) as daemon:
        await daemon.ready()
        for _ in range(3):
            assert await daemon.notified() == ["WATCHDOG=1"]
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0


async def test_a_worker_is_replaced_under_a_watchdog(tmp_path: Path) -> None:
    environment = {"WATCHDOG_USEC": "20000"}
    async with running(configure(tmp_path), workers=2, environment=environment) as daemon:
        await daemon.ready()
        victim = daemon.children()[0]
        os.kill(victim, signal.SIGKILL)
        await daemon.logged(f"worker ended pid={victim}")
        await daemon.logged("worker started pid=")
        assert len(daemon.children()) == 2
        assert victim not in daemon.children()


async def test_all_workers_reload_or_none(tmp_path: Path) -> None:
    directory = with_names(tmp_path)
    plugins = (directory / "plugins").read_text()
    async with running(directory, workers=2) as daemon:
        port = await daemon.port()
        await daemon.ready()
        before = await one_of_each(daemon, port)

        for name in ("newer.example", "new.example"):
            (directory / "me").write_text(f"{name}\n")
            daemon.signal(signal.SIGHUP)
            assert (await daemon.notified())[0] == "RELOADING=1"
            assert (await daemon.notified())[0] == "READY=1"
            for _ in range(2):
                await daemon.logged("configuration reloaded")
        after = await one_of_each(daemon, port)
        assert sorted(after) == sorted(before)
        for client in after.values():
            assert "new.example" in await client.command("EHLO x")
        for client in before.values():
            assert "mx.example" in await client.command("EHLO x")

        (directory / "plugins").write_text("nonsense\n")
        daemon.signal(signal.SIGHUP)
        assert (await daemon.notified())[0] == "RELOADING=1"
        await daemon.logged(f"{directory}/plugins:1: nonsense: there is no plugin")
        await daemon.logged("the old configuration stays in use")
        assert await daemon.notified() == [
            "READY=1",
            f"STATUS=Taking connections with 2 workers; {notify.REFUSED}",
        ]
        assert daemon.log.count("configuration reloaded") == 4
        (directory / "plugins").write_text(plugins)
        daemon.signal(signal.SIGHUP)
        assert (await daemon.notified())[0] == "RELOADING=1"
        assert (await daemon.notified())[1] == "STATUS=Taking connections with 2 workers"
        newest = await one_of_each(daemon, port)
        for client in newest.values():
            assert "new.example" in await client.command("EHLO x")
        await close(*before.values(), *after.values(), *newest.values())


async def test_log_files_of_all_workers_are_opened_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    directory = with_names(tmp_path)
    (directory / "logging").write_text(f"logging/file loglevel LOGDEBUG {log}\n")
    passed = socket.create_server(("127.0.0.1", 0))
    port = passed.getsockname()[1]
    async with running(directory, passed=[passed], workers=2) as daemon:
        await daemon.ready()
        moved = tmp_path / "log.1"
        await until(log.exists)
        log.rename(moved)
        daemon.signal(signal.SIGUSR1)
        pids = daemon.children()
        wanted = {f"[{pid}]: " for pid in pids}
        while not log.exists() or not all(mark in log.read_text() for mark in wanted):
            await (await daemon.client(port)).close()
    passed.close()


# --- a worker that waits ----------------------------------------------------------------------

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
    """A configuration whose plugin waits until `open_gate`."""
    (tmp_path / "waits.py").write_text(WAITS)
    os.mkfifo(tmp_path / "gate")
    return configure(tmp_path, catching(tmp_path, "waits"))


@contextmanager
def open_gate(directory: Path) -> Iterator[None]:
    """Let all go on that wait, or are about to."""
    gate = os.open(directory / "gate", os.O_RDWR)
    try:
        os.write(gate, b"several")
        yield
    finally:
        os.close(gate)


async def test_a_reload_is_over_when_all_workers_have_taken_it(tmp_path: Path) -> None:
    directory = with_gate(tmp_path)
    async with running(directory, workers=2) as daemon:
        await daemon.ready()
        (directory / "hold").write_text("reload")
        daemon.signal(signal.SIGHUP)
        assert (await daemon.notified())[0] == "RELOADING=1"
        for _ in range(2):
            await daemon.logged("waits")
        assert not daemon.was_notified()
        with open_gate(directory):
            assert (await daemon.notified())[0] == "READY=1"
        for _ in range(2):
            await daemon.logged("configuration reloaded")


async def test_a_reload_waits_for_no_worker_that_dies(tmp_path: Path) -> None:
    directory = with_gate(tmp_path)
    async with running(directory, workers=2) as daemon:
        await daemon.ready()
        victims = daemon.children()
        (directory / "hold").write_text("reload")
        daemon.signal(signal.SIGHUP)
        for _ in range(2):
            await daemon.logged("waits")
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await daemon.ready()


async def test_reloads_that_come_while_one_is_under_way_are_one(tmp_path: Path) -> None:
    directory = with_gate(tmp_path)
    async with running(directory, workers=2) as daemon:
        await daemon.ready()
        (directory / "hold").write_text("first")
        daemon.signal(signal.SIGHUP)
        await daemon.logged("waits")
        for _ in range(3):
            daemon.signal(signal.SIGHUP)
        expected = ["RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
        with open_gate(directory):
            assert [(await daemon.notified())[0] for _ in expected] == expected
        daemon.signal(signal.SIGTERM)
        assert await daemon.notified() == ["STOPPING=1"]


async def test_a_reload_reaches_a_worker_that_just_starts(tmp_path: Path) -> None:
    """It would die of a signal that comes before it has a handler."""
    directory = with_gate(tmp_path)
    async with running(directory, workers=2) as daemon:
        await daemon.ready()
        (directory / "hold").write_text("first")
        os.kill(daemon.children()[0], signal.SIGKILL)
        await daemon.logged("waits")
        starting = daemon.children()
        daemon.signal(signal.SIGUSR1)
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration reloaded")
        with open_gate(directory):
            await daemon.logged_by_several("worker started pid=", "configuration reloaded")
        await daemon.ready()
        assert daemon.children() == starting


async def test_stopped_before_it_has_started(tmp_path: Path) -> None:
    directory = with_gate(tmp_path)
    (directory / "hold").write_text("first")
    async with running(directory, workers=2) as daemon:
        await daemon.logged("waits")
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0


# --- workers that cannot go on ----------------------------------------------------------------


async def test_a_worker_that_cannot_start_comes_with_the_next_good_reload(tmp_path: Path) -> None:
    directory = with_names(tmp_path)
    plugins = (directory / "plugins").read_text()
    async with running(directory, workers=2) as daemon:
        port = await daemon.port()
        await daemon.ready()
        victim, survivor = daemon.children()
        (directory / "plugins").write_text("nonsense\n")
        os.kill(victim, signal.SIGKILL)
        await daemon.logged(f"status={EXIT_CONFIG}, starting another")
        client = await daemon.client(port)
        assert await worker_of(client) == survivor
        (directory / "plugins").write_text(plugins)
        daemon.signal(signal.SIGHUP)
        await daemon.logged("worker started pid=")
        await close(client, *(await one_of_each(daemon, port)).values())


async def test_a_start_without_workers_is_none(tmp_path: Path) -> None:
    """The look at the configuration went well, and the workers find it wrong."""
    text = (
        "import os\nfrom pathlib import Path\nfrom qpsmtpd.api import *\n"
        "class Once(Plugin[NoOptions]):\n"
        "    async def start(self):\n"
        "        try: Path(__file__).with_name('once').touch(exist_ok=False)\n"
        "        except FileExistsError: raise ConfigError(self.name, 'only once') from None\n"
        "    async def hook_quit(self, session): ...\n"
    )
    (tmp_path / "once.py").write_text(text)
    async with running(configure(tmp_path, catching(tmp_path, "once")), workers=2) as daemon:
        assert await daemon.ended() == EXIT_CONFIG
        assert "once: only once" in daemon.log


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


# --- the end ----------------------------------------------------------------------------------


@contextmanager
def ended_in_any_case(pids: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    async with running(with_names(tmp_path), workers=2) as daemon:
        port = await daemon.port()
        await daemon.ready()
        with ended_in_any_case(daemon.children()):
            clients = await one_of_each(daemon, port)
            daemon.signal(signal.SIGKILL)
            for client in clients.values():
                assert await client.reply() == "421 4.3.2 Service shutting down"
            assert await daemon.ended() == -signal.SIGKILL
        await close(*clients.values())


async def test_who_comes_during_the_end_does_not_wait_in_vain(tmp_path: Path) -> None:
    """With sockets of our own nobody will serve them: the next server is to be tried."""
    async with running(with_names(tmp_path), workers=2) as daemon:
        port = await daemon.port()
        await daemon.ready()
        clients = await one_of_each(daemon, port)
        in_data = await (await Client.connect("127.0.0.1", port)).to_data()
        daemon.signal(signal.SIGTERM)
        for client in clients.values():
            assert await client.reply() == "421 4.3.2 Service shutting down"
        with pytest.raises(ConnectionRefusedError):
            await Client.connect("127.0.0.1", port)
        assert await in_data.deliver() == "250 2.0.0 Caught"
        assert await daemon.ended() == 0
        await close(*clients.values(), in_data)
