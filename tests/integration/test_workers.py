# SPDX-License-Identifier: MIT
"""Workers and their supervisor: signals that reach every worker, workers that die or cannot start.

What the supervisor does with hanging ones, and its pace, is in tests/unit/daemon.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qpsmtpd.daemon import notify
from qpsmtpd.daemon.reloads import ask
from qpsmtpd.daemon.worker import EXIT_CONFIG
from tests.unit.client import Client, catching, until
from tests.unit.daemon.test_supervisor import with_gate
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


# --- reloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_who_asks_for_a_reload_is_told(tmp_path: Path, workers: int) -> None:
    directory = configure(tmp_path)
    (tmp_path / "state").mkdir()
    state = {"STATE_DIRECTORY": f"{tmp_path}/state"}
    plugins = (directory / "plugins").read_text()
    async with running(directory, workers=workers, environment=state) as daemon:
        await daemon.ready()
        for text, expected in ((plugins, True), ("nonsense", False), (plugins, True)):
            (directory / "plugins").write_text(text)
            assert await asyncio.to_thread(ask, daemon.pid, state) is expected
        # Somebody who sends the signal himself disturbs nobody.
        daemon.signal(signal.SIGHUP)
        assert await asyncio.to_thread(ask, daemon.pid, state)


# --- a worker that waits ----------------------------------------------------------------------


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
