# SPDX-License-Identifier: MIT
"""Being the daemon: whose user, and whose store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.commands import asdaemon
from qpsmtpd.commands.asdaemon import become_daemon, environment_of_daemon
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError

UNIT = "[Service]\nUser=qpsmtpd\nStateDirectory=qpsmtpd\n"


def a_machine(root: Path, unit: str = UNIT, **environment: str) -> Machine:
    if unit:
        (root / "usr/lib/systemd/system").mkdir(parents=True)
        (root / "usr/lib/systemd/system/qpsmtpd.service").write_text(unit)
    return Machine(root, environment)


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    users: list[str] = []
    monkeypatch.setattr(asdaemon, "drop_privileges", users.append)
    return users


@pytest.mark.parametrize(
    ("uid", "unit", "expected"),
    [(0, UNIT, ["qpsmtpd"]), (1000, UNIT, []), (1000, "", [])],
)
def test_user_of_the_unit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    became: list[str],
    uid: int,
    unit: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    become_daemon(a_machine(tmp_path, unit), tmp_path / "store.sqlite")
    become_daemon(Machine(tmp_path, {}), None)
    assert became == expected * 2


@pytest.mark.parametrize("unit", ["", "[Service]\n"])
def test_owner_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, became: list[str], unit: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owners: list[os.stat_result] = []
    monkeypatch.setattr(asdaemon, "become_owner", owners.append)
    machine, file = a_machine(tmp_path, unit), tmp_path / "store.sqlite"
    become_daemon(machine, None)
    with pytest.raises(QpsmtpdError, match="there is no store yet"):
        become_daemon(machine, file)
    file.touch()
    become_daemon(machine, file)
    assert owners == [file.stat()]
    assert became == []


def test_directory_of_the_store(tmp_path: Path) -> None:
    machine = a_machine(tmp_path, HOME="/root")
    assert environment_of_daemon(machine) == {
        "HOME": "/root",
        "STATE_DIRECTORY": "/var/lib/qpsmtpd",
    }


def test_the_first_of_several_directories(tmp_path: Path) -> None:
    machine = a_machine(tmp_path, UNIT.replace("=qpsmtpd\n", "=qpsmtpd other\n"))
    assert environment_of_daemon(machine) == {"STATE_DIRECTORY": "/var/lib/qpsmtpd"}


def test_systemd_has_said_where_it_is(tmp_path: Path) -> None:
    machine = a_machine(tmp_path, STATE_DIRECTORY="/var/lib/other")
    assert environment_of_daemon(machine) == {"STATE_DIRECTORY": "/var/lib/other"}


def test_a_machine_without_the_unit(tmp_path: Path) -> None:
    assert environment_of_daemon(a_machine(tmp_path, "")) == {}
