# SPDX-License-Identifier: MIT
"""Checks of sockets; those of directories and programs are tried by tests/unit/doctor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from qpsmtpd.plugin.filechecks import socket_denied
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Obstacle
from qpsmtpd.testing import FakeSystem

SOCKET = "/run/x.sock"


def denied_by(tmp_path: Path, obstacle: Obstacle | None) -> Finding | None:
    system = FakeSystem(tmp_path)
    if obstacle is not None:
        system.obstacles[SOCKET] = obstacle
    return socket_denied(system, f"filter {SOCKET}", SOCKET)


@pytest.mark.parametrize("kind", [None, "missing", "hidden"])
def test_what_does_not_forbid_it(tmp_path: Path, kind: Literal["missing", "hidden"] | None) -> None:
    assert denied_by(tmp_path, kind and Obstacle(Path("/run"), kind, "is odd")) is None


def test_where_no_group_helps(tmp_path: Path) -> None:
    finding = denied_by(tmp_path, Obstacle(Path(SOCKET), "denied", "lets nobody in"))
    assert finding == Finding.error(f"filter {SOCKET}", f"{SOCKET} lets nobody in")


def test_the_group_that_helps(tmp_path: Path) -> None:
    finding = denied_by(tmp_path, Obstacle(Path(SOCKET), "denied", "lets few in", os.getgid()))
    assert finding is not None
    assert finding.commands[0].startswith(f"adduser {FakeSystem(tmp_path).user} ")
    assert "systemctl restart qpsmtpd.service" in finding.commands
