# SPDX-License-Identifier: MIT
"""Being the daemon: whose user, and whose store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.commands import asdaemon
from qpsmtpd.commands.asdaemon import become_daemon, environment_of_daemon
from qpsmtpd.doctor.machine import Machine

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
    [(0, UNIT, ["qpsmtpd"]), (1000, UNIT, []), (0, "", []), (0, "[Service]\n", [])],
)
def test_user(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    became: list[str],
    uid: int,
    unit: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    become_daemon(a_machine(tmp_path, unit))
    assert became == expected


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
