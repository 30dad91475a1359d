# SPDX-License-Identifier: MIT
"""Examine: all areas of an installation, and the program around it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.commands import main as cli
from qpsmtpd.doctor import examine
from qpsmtpd.doctor.examine import AREAS
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.report import exit_status
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugin.finding import Finding
from tests.unit.doctor.fakes import FakeMachine, a_table, an_installation

WORLD = {("A", "a.root-servers.net"): ["198.41.0.4"], ("A", "mx.example.org"): ["127.0.1.1"]}


def files_below(root: Path) -> dict[str, tuple[int, int, int]]:
    statuses = {str(path): path.lstat() for path in root.rglob("*")}
    return {name: (s.st_mode, s.st_size, s.st_mtime_ns) for name, s in statuses.items()}


def test_healthy(machine: FakeMachine) -> None:
    a_table(machine)
    machine.file("/opt/queue", mode=0o755)
    installation = an_installation(
        machine, "rcpt_ok\nqueue/qmail-queue /opt/queue\n", listen=[":25"], records=WORLD
    )
    before = files_below(machine.root)
    findings = examine.examine(installation)
    assert exit_status(findings) == 0
    assert list(findings) == list(AREAS)
    assert files_below(machine.root) == before


def test_area_that_cannot_look(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def area(installation: Installation) -> Iterator[Finding]:
        yield Finding.ok("a", "b")
        raise ConfigError("x", "y")

    monkeypatch.setattr(examine, "AREAS", {"Area": area})
    (findings,) = examine.examine(an_installation(machine)).values()
    assert [found.severity.name for found in findings] == ["OK", "ERROR"]
    assert findings[1].text == "cannot be examined: x: y"


@pytest.fixture
def program(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> list[Installation]:
    """The installations that the program examines, without looking at them."""
    seen: list[Installation] = []

    def fake(installation: Installation) -> dict[str, list[Finding]]:
        seen.append(installation)
        return {"Area": [Finding.ok("a", "b")]}

    monkeypatch.setattr(examine, "examine", fake)
    monkeypatch.setenv("NO_COLOR", "1")
    return seen


def test_program(
    program: list[Installation], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--config", str(tmp_path), "--listen", ":25"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "Area\n  ok      a: b\n\n0 errors, 0 warnings\n"
    assert program[0].directories[0] == tmp_path
    assert list(map(str, program[0].wanted)) == ["*:25"]
    assert program[0].machine.root == Path("/")
    assert program[0].machine.environment == dict(os.environ)


def test_program_for_programs(
    program: list[Installation], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["subject"] == "a"
