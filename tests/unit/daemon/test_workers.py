# SPDX-License-Identifier: MIT
"""The processes of the daemon: sockets, supervision, and signals that reach every worker."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qpsmtpd.config.runoptions import ListenAddress, RunOptions
from qpsmtpd.daemon import workers
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.worker import EXIT_CONFIG
from qpsmtpd.errors import QpsmtpdError
from tests.unit.client import Client, catching
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
        assert (await daemon.notified())[0] == "READY=1"
        assert daemon.log.count("configuration reloaded") == 4
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
        log.rename(moved)
        daemon.signal(signal.SIGUSR1)
        pids = daemon.children()
        wanted = {f"[{pid}]: " for pid in pids}
        while not log.exists() or not all(mark in log.read_text() for mark in wanted):
            await (await daemon.client(port)).close()
    passed.close()


async def test_no_start_with_a_wrong_configuration(tmp_path: Path) -> None:
    directory = configure(tmp_path, {"timeout": "soon"})
    async with running(directory, workers=2) as daemon:
        assert await daemon.ended() == EXIT_CONFIG
        assert f"{directory}/timeout:1: " in daemon.log
        assert "Traceback" not in daemon.log


async def test_sockets_of_systemd(tmp_path: Path) -> None:
    """They stay open when the daemon ends, so that nobody is refused in between."""
    passed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in passed]
    directory = configure(tmp_path)
    for _ in range(2):
        waiting = socket.create_connection(("127.0.0.1", ports[0]))
        async with running(directory, passed=passed, listen=[]) as daemon:
            await daemon.ready()
            early = await (await Client.connect(None, None, sock=waiting)).greeted()
            late = await daemon.client(ports[1])
            await close(early, late)
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended() == 0
    for one in passed:
        one.close()


# --- without a daemon -------------------------------------------------------------------------


def test_nothing_to_listen_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert workers.run(RunOptions(config=(tmp_path,))) == 1
    assert "nothing to listen on" in caplog.text


def test_an_address_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = (ListenAddress("127.0.0.1", 0), ListenAddress("127.0.0.1", port))
        assert workers.run(RunOptions(config=(tmp_path,), listen=listen)) == 1
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in caplog.text


async def test_pid_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("0x7\n")
    directory = configure(tmp_path)
    async with running(directory, pid_file=str(pid_file)) as daemon:
        await daemon.ready()
        assert pid_file.read_text() == f"{daemon.pid}\n"
        with socket.create_server(("127.0.0.1", 0)) as listening:
            monkeypatch.setattr(workers, "bind", lambda _addresses: [Listener(listening)])
            assert workers.run(RunOptions(config=(directory,), pid_file=pid_file)) == 1
        assert f"{pid_file}: qpsmtpd runs already, with process id {daemon.pid}" in caplog.text
        assert pid_file.exists()
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    assert not pid_file.exists()


def test_a_pid_file_that_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(workers, "bind", lambda _addresses: [Listener(listening)])
        options = RunOptions(config=(tmp_path,), pid_file=tmp_path / "missing" / "pid")
        assert workers.run(options) == 1
    assert "missing/pid: No such file or directory" in caplog.text


def test_become() -> None:
    workers.become(pwd.getpwuid(os.getuid()).pw_name)
    with pytest.raises(QpsmtpdError, match="there is no user 'nobody-of-that-name'"):
        workers.become("nobody-of-that-name")


def test_become_another_user() -> None:
    if os.getuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root")
        pytest.skip("needs root")
    script = (
        "import os\nfrom qpsmtpd.daemon.workers import become\nbecome('nobody')\n"
        "assert 0 not in (*os.getresuid(), *os.getresgid(), *os.getgroups())\n"
        "try:\n    os.setuid(0)\nexcept PermissionError:\n    print(os.environ['HOME'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == pwd.getpwnam("nobody").pw_dir
