# SPDX-License-Identifier: MIT
"""What who asks for a reload is told."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from qpsmtpd.commands import main as cli
from qpsmtpd.daemon import reloads
from qpsmtpd.daemon.reloads import Reloads, ask
from qpsmtpd.errors import QpsmtpdError


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """The environment of the service."""
    (tmp_path / "state").mkdir()
    return {"STATE_DIRECTORY": f"{tmp_path}/state:/elsewhere"}


def test_a_verdict_of_an_earlier_reload_is_none(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Reloads(state)
    asked = threading.Event()

    def kill(_pid: int, number: int) -> None:
        if number == 0:  # who asked has not found its word
            daemon.begin()
            daemon.end(success=True)
        else:
            daemon.end(success=False)
            asked.set()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(reloads, "POLL_INTERVAL", 0.0)
    Path(state["STATE_DIRECTORY"].partition(":")[0], "reload.wanted").write_text("earlier")
    daemon.begin()
    assert ask(7, state)
    assert asked.is_set()


def test_a_daemon_that_says_nothing(state: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(reloads, "PATIENCE", 0.01)
    with pytest.raises(QpsmtpdError, match="has not reloaded within"):
        ask(7, state)


def test_a_daemon_that_ends(state: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(_pid: int, number: int) -> None:
        if number == 0:
            raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(QpsmtpdError, match="No such process"):
        ask(7, state)


def test_without_systemd(state: dict[str, str]) -> None:
    with pytest.raises(QpsmtpdError, match="STATE_DIRECTORY"):
        ask(7, {})
    Reloads({}).begin()
    Reloads({}).end(success=True)
    Reloads(state).end(success=True)
    assert list(Path(state["STATE_DIRECTORY"].partition(":")[0]).iterdir()) == []


def test_a_full_disk_is_no_fault_of_the_reload(state: dict[str, str]) -> None:
    directory = Path(state["STATE_DIRECTORY"].partition(":")[0])
    (directory / "reload.wanted").write_text("word")
    (directory / "reload.new").mkdir()
    daemon = Reloads(state)
    daemon.begin()
    daemon.end(success=True)


def test_a_full_disk_does_not_keep_us_from_asking(
    state: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: asked.append(number))
    Path(state["STATE_DIRECTORY"].partition(":")[0], "reload.new").mkdir()
    with pytest.raises(QpsmtpdError, match="with what result is unknown"):
        ask(7, state)
    assert asked == [signal.SIGHUP]


@pytest.mark.parametrize("used, status", [(True, 0), (False, 1)])
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], used: bool, status: int
) -> None:
    monkeypatch.setattr(reloads, "ask", lambda pid, environment: used)
    assert cli.main(["reload", "7"]) == status
    assert ("stays in use" in capsys.readouterr().err) is not used
