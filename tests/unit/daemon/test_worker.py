# SPDX-License-Identifier: MIT
"""One worker process: signals, reloads, and what systemd is told."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon import descriptors, worker
from qpsmtpd.daemon.overseer import ServiceManager
from qpsmtpd.daemon.worker import EXIT_CONFIG, Worker, check_configuration, load_snapshot, run_loop
from qpsmtpd.logs.handler import install
from tests.unit.client import catching, until, uvloop_factory
from tests.unit.daemon_process import configure, running

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def environment(loop: str) -> dict[str, str]:
    """The environment of a daemon that uses this event loop."""
    if loop == "uvloop":
        uvloop_factory()
    return {"QPSMTPD_EVENT_LOOP": loop}


@pytest.fixture
def logs_installed() -> Iterator[None]:
    """What `start.run` does first."""
    root, ours = logging.getLogger(), logging.getLogger("qpsmtpd")
    level = ours.level
    handler = install()
    yield
    root.removeHandler(handler)
    ours.setLevel(level)


# --- without a process ------------------------------------------------------------------------


@LOOPS
def test_the_event_loop(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        loops.append(type(asyncio.get_running_loop()).__module__)
        return 7

    loops: list[str] = []
    if loop == "uvloop":
        uvloop_factory()
        monkeypatch.delenv("QPSMTPD_EVENT_LOOP", raising=False)
    else:
        monkeypatch.setenv("QPSMTPD_EVENT_LOOP", loop)
    assert run_loop(main) == 7
    assert loops[0].startswith(loop)


def test_tls_takes_little_memory_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it allocates for each connection, of the 256 KB that it would."""
    monkeypatch.setenv("QPSMTPD_EVENT_LOOP", "asyncio")
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)

    async def main() -> int:
        return SSLProtocol.max_size

    assert run_loop(main) == worker.TLS_BUFFER < 1 << 16


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.delenv("QPSMTPD_EVENT_LOOP", raising=False)

    async def main() -> int:
        return int(type(asyncio.get_running_loop()).__module__.startswith("asyncio"))

    assert run_loop(main) == 1


async def test_the_command_line_wins(tmp_path: Path) -> None:
    directory = configure(tmp_path, {"max_connections": "5", "max_from_ip": "6"})
    options = RunOptions(config=(directory,), max_connections=9, reverse_lookup=True)
    snapshot = await load_snapshot(options)
    settings = snapshot.settings
    assert (settings.max_connections, settings.max_from_ip) == (9, 6)
    assert settings.reverse_lookup
    await snapshot.stop()


async def test_too_few_descriptors_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "open_files", lambda: 500)
    directory = configure(tmp_path, {"max_connections": "600"})
    for workers, warnings in ((1, 1), (2, 1), (3, 0)):
        snapshot = await load_snapshot(RunOptions(config=(directory,), workers=workers))
        found = [warning for warning in snapshot.warnings if warning.where == "max_connections"]
        assert len(found) == warnings
        await snapshot.stop()


def test_what_is_left_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = RunOptions(config=(configure(tmp_path),))
    (tmp_path / "plugins").write_text("relay if_enabled rspamd\nrcpt_ok\nqueue/discard\n")
    with caplog.at_level(logging.INFO):
        assert check_configuration(options) == 0
    assert f"left out: {tmp_path}/plugins:1: relay: not used, as rspamd" in caplog.text


def test_check_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = RunOptions(config=(configure(tmp_path),))
    assert check_configuration(options) == 0
    (tmp_path / "plugins").write_text("rcpt_ok\n\nnonsense\nqueue/discard\n")
    assert check_configuration(options) == EXIT_CONFIG
    assert f"{tmp_path}/plugins:3: nonsense: there is no plugin nonsense" in caplog.text


@pytest.mark.usefixtures("logs_installed")
@pytest.mark.parametrize("logging_line", ["logging/file {log}", "logging/json file={log}"])
def test_what_is_wrong_stands_in_the_log_file_as_well(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], logging_line: str
) -> None:
    log = tmp_path / "log"
    lines = {"plugins": "nonsense\n", "logging": logging_line.format(log=log)}
    options = RunOptions(config=(configure(tmp_path, lines),))
    assert check_configuration(options) == EXIT_CONFIG
    for text in (log.read_text(), capfd.readouterr().err):
        assert text.count(f"{tmp_path}/plugins:1: nonsense: there is no plugin") == 1
    assert "a configuration with these errors is not used" in log.read_text()


@pytest.mark.usefixtures("logs_installed")
@pytest.mark.parametrize("line", ["logging/warn", "logging/nonsense", "logging/file"])
def test_what_is_wrong_stands_on_stderr_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    options = RunOptions(config=(configure(tmp_path, {"plugins": "nonsense\n", "logging": line}),))
    assert check_configuration(options) == EXIT_CONFIG
    text = capfd.readouterr().err
    assert text.count(f"{tmp_path}/plugins:1: nonsense: there is no plugin") == 1


def test_a_wrong_configuration_is_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RunOptions(config=(configure(tmp_path, {"timeout": "soon"}),))
    assert Worker(options, (), ServiceManager()).run() == EXIT_CONFIG
    assert f"{tmp_path}/timeout:1" in caplog.text


# --- processes --------------------------------------------------------------------------------


@LOOPS
async def test_life(tmp_path: Path, loop: str) -> None:
    """Ready, reload, refused reload, stop; with sessions all the way."""
    directory = configure(tmp_path, catching(tmp_path))
    async with running(directory, environment=environment(loop)) as daemon:
        port = await daemon.port()
        assert await daemon.notified() == ["READY=1", "STATUS=Taking connections"]
        old = await daemon.client(port)

        (directory / "me").write_text("new.example\n")
        daemon.signal(signal.SIGHUP)
        reloading, usec = await daemon.notified()
        assert reloading == "RELOADING=1"
        assert usec.startswith("MONOTONIC_USEC=")
        assert (await daemon.notified())[0] == "READY=1"
        new = await daemon.client(port)
        assert "new.example greets" in await new.command("EHLO x")
        assert "mx.example greets" in await old.command("EHLO x")

        (directory / "timeout").write_text("# how long\nsoon\n")
        daemon.signal(signal.SIGHUP)
        assert (await daemon.notified())[0] == "RELOADING=1"
        assert (await daemon.notified())[0] == "READY=1"
        await daemon.logged(f"{directory}/timeout:2")
        await daemon.logged("the old configuration stays in use")
        newest = await daemon.client(port)
        assert "new.example greets" in await newest.command("EHLO x")

        envelope = ["MAIL FROM:<>", "RCPT TO:<user@example.test>", "DATA"]
        assert await new.commands(*envelope) == [250, 250, 354]
        daemon.signal(signal.SIGTERM)
        assert await daemon.notified() == ["STOPPING=1"]
        for idle in (old, newest):
            assert await idle.reply() == "421 4.3.2 Service shutting down"
            assert await idle.closed()
        assert await new.deliver() == "250 2.0.0 Caught"
        assert await new.reply() == "421 4.3.2 Service shutting down"
        assert await daemon.ended() == 0
        for client in (old, new, newest):
            await client.close()


async def test_plugins_of_an_old_configuration_stop(tmp_path: Path) -> None:
    text = (
        "from qpsmtpd.api import *\n"
        "class Life(Plugin[NoOptions]):\n"
        "    async def start(self): self.log.warning('start %s', self.services.me)\n"
        "    async def stop(self): self.log.warning('stop %s', self.services.me)\n"
        "    async def hook_quit(self, session): ...\n"
    )
    (tmp_path / "life.py").write_text(text)
    directory = configure(tmp_path, catching(tmp_path, "life"))
    async with running(directory) as daemon:
        port = await daemon.port()
        await daemon.ready()
        client = await daemon.client(port)
        (directory / "me").write_text("new.example\n")
        daemon.signal(signal.SIGHUP)
        await daemon.logged("start new.example")
        await daemon.logged("configuration reloaded")
        assert "stop mx.example" not in daemon.log
        await client.command("QUIT")
        await client.close()
        await daemon.logged("stop mx.example")
        daemon.signal(signal.SIGTERM)
        await daemon.logged("stop new.example")
        assert await daemon.ended() == 0


async def test_a_reload_that_fails_badly_is_not_the_last(
    tmp_path: Path,
) -> None:
    """Whatever is wrong with the configuration, the next signal is heard."""
    directory = configure(tmp_path)
    async with running(directory) as daemon:
        port = await daemon.port()
        await daemon.ready()
        (directory / "rcpthosts").unlink()
        (directory / "rcpthosts").mkdir()
        (directory / "me").write_bytes(b"\xff\xfe\n")
        daemon.signal(signal.SIGHUP)
        await daemon.logged("the old configuration stays in use")
        await daemon.ready()
        (directory / "rcpthosts").rmdir()
        (directory / "rcpthosts").write_text("example.test\n")
        (directory / "me").write_text("new.example\n")
        daemon.signal(signal.SIGHUP)
        await daemon.logged("configuration reloaded")
        client = await daemon.client(port)
        assert "new.example greets" in await client.command("EHLO x")
        await client.close()


async def test_any_exception_of_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_options: RunOptions) -> Any:
        raise OSError("too many open files")

    ready = asyncio.Event()
    monkeypatch.setattr(worker, "load_snapshot", fails)
    options = RunOptions(config=(tmp_path,))

    class Hears(ServiceManager):
        def reloaded(self, *, success: bool) -> None:
            assert not success
            ready.set()

    reloading = Worker(options, (), Hears())
    hangup = asyncio.Event()
    server: Any = None
    task = asyncio.ensure_future(reloading._reload_for_ever(server, hangup))
    for _ in range(2):
        hangup.set()
        await asyncio.wait(
            (asyncio.ensure_future(ready.wait()), task), return_when="FIRST_COMPLETED"
        )
        assert not task.done()
        ready.clear()
    assert "too many open files" in caplog.text
    assert "the old configuration stays in use" in caplog.text
    task.cancel()


async def test_log_files_are_opened_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    directory = configure(tmp_path, {"logging": f"logging/file loglevel LOGDEBUG {log}"})
    passed = socket.create_server(("127.0.0.1", 0))
    port = passed.getsockname()[1]
    async with running(directory, passed=[passed]) as daemon:
        passed.close()
        await daemon.ready()
        await (await daemon.client(port)).close()
        moved = tmp_path / "log.1"
        log.rename(moved)
        await until(lambda: "closed ip=127.0.0.1" in moved.read_text())
        daemon.signal(signal.SIGUSR1)
        while not log.exists():
            await (await daemon.client(port)).close()
        await (await daemon.client(port)).close()
        await until(lambda: "connected ip=127.0.0.1" in log.read_text())
        size = moved.stat().st_size
        await (await daemon.client(port)).close()
        assert moved.stat().st_size == size


async def test_no_start_with_a_wrong_configuration(tmp_path: Path) -> None:
    directory = configure(tmp_path, {"plugins": "rcpt_ok\nqueue/nonsense"})
    async with running(directory) as daemon:
        assert await daemon.ended() == EXIT_CONFIG
        assert f"{directory}/plugins:2: queue/nonsense: there is no plugin" in daemon.log


async def test_interrupt_stops_as_well(tmp_path: Path) -> None:
    async with running(configure(tmp_path)) as daemon:
        await daemon.ready()
        daemon.signal(signal.SIGINT)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert "Traceback" not in daemon.log
