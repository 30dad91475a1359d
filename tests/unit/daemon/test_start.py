# SPDX-License-Identifier: MIT
"""The start of the daemon: its sockets, its user, its process id."""

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
from qpsmtpd.daemon import start
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.worker import EXIT_CONFIG
from qpsmtpd.errors import QpsmtpdError
from tests.unit.daemon_process import configure, running


async def test_no_start_with_a_wrong_configuration(tmp_path: Path) -> None:
    directory = configure(tmp_path, {"timeout": "soon"})
    async with running(directory, workers=2) as daemon:
        assert await daemon.ended() == EXIT_CONFIG
        assert f"{directory}/timeout:1: " in daemon.log
        assert "Traceback" not in daemon.log


# --- without a daemon -------------------------------------------------------------------------


def test_nothing_to_listen_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert start.run(RunOptions(config=(tmp_path,))) == 1
    assert "nothing to listen on" in caplog.text


def test_an_address_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = (ListenAddress("127.0.0.1", 0), ListenAddress("127.0.0.1", port))
        assert start.run(RunOptions(config=(tmp_path,), listen=listen)) == 1
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
            monkeypatch.setattr(start, "bind", lambda _addresses: [Listener(listening)])
            assert start.run(RunOptions(config=(directory,), pid_file=pid_file)) == 1
        assert (
            f"{pid_file}: qpsmtpd is already running, with process id {daemon.pid}" in caplog.text
        )
        assert pid_file.exists()
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
    assert not pid_file.exists()


def test_a_pid_file_that_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(start, "bind", lambda _addresses: [Listener(listening)])
        options = RunOptions(config=(tmp_path,), pid_file=tmp_path / "missing" / "pid")
        assert start.run(options) == 1
    assert "missing/pid: No such file or directory" in caplog.text


def test_drop_privileges() -> None:
    start.drop_privileges(pwd.getpwuid(os.getuid()).pw_name)
    with pytest.raises(QpsmtpdError, match="there is no user 'nobody-of-that-name'"):
        start.drop_privileges("nobody-of-that-name")


def test_another_user() -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    script = (
        "import os\nfrom qpsmtpd.daemon.start import drop_privileges\ndrop_privileges('nobody')\n"
        "assert 0 not in (*os.getresuid(), *os.getresgid(), *os.getgroups())\n"
        "try:\n    os.setuid(0)\nexcept PermissionError:\n    print(os.environ['HOME'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == pwd.getpwnam("nobody").pw_dir


def test_figures_without_a_place_cost_no_mail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "nowhere")}
    options = RunOptions(config=(tmp_path,), workers=3, environment=environment)
    assert start._memory(options).head.workers == 3
    assert f"qpsmtpd status will not work: {tmp_path}/nowhere/figures" in caplog.text
