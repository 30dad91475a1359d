# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/daemon/notify.py."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.daemon import notify
from tests.unit.client import PATIENCE


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager that listens at a path or an abstract name."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"@qpsmtpd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


def test_what_is_told(manager: socket.socket) -> None:
    notify.ready("2 workers")
    assert manager.recv(1000) == b"READY=1\nSTATUS=2 workers"
    notify.stopping()
    assert manager.recv(1000) == b"STOPPING=1"
    notify.reloading()
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(1000))
    notify.alive()
    assert manager.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("path", ["", "/nowhere/notify", "@" + "x" * 200])
def test_no_manager_is_no_trouble(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify.notify("READY=1")


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    def no_socket(*_args: object) -> socket.socket:
        raise AssertionError("there is nobody to tell")

    monkeypatch.setattr(socket, "socket", no_socket)
    notify.ready("")


def test_a_busy_manager_does_not_hold_up_who_is_alive(manager: socket.socket) -> None:
    impatient = threading.Timer(5, manager.close)
    impatient.start()
    for _ in range(1000):
        notify.alive()
    impatient.cancel()
    assert manager.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [
        ("120000000", "OURS", 60.0),
        ("120000000", "", 60.0),
        ("120000000", "1", None),
        ("", "OURS", None),
        ("soon", "OURS", None),
    ],
)
def test_how_often_the_watchdog_is_to_hear_of_us(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str, interval: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid.replace("OURS", str(os.getpid())))
    assert notify.watchdog_interval() == interval


def test_without_a_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert notify.watchdog_interval() is None
