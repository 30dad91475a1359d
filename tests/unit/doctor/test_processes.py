# SPDX-License-Identifier: MIT
"""Processes: the daemon that runs."""

from __future__ import annotations

from qpsmtpd.doctor.processes import Running, running
from tests.unit.doctor.fakes import FakeMachine, a_service


def test_running(machine: FakeMachine) -> None:
    a_service(machine, "Gid:\t5\t5\t5\t5\nGroups:\t7 8\nNoNewPrivs:\t1\n")
    assert running(machine) == Running(frozenset({5, 7, 8}), no_new_privileges=True)
    a_service(machine, "Gid:\t5\t5\t5\t5\nGroups:\t \nNoNewPrivs:\t0\n")
    assert running(machine) == Running(frozenset({5}), no_new_privileges=False)


def test_not_running(machine: FakeMachine) -> None:
    assert running(machine) is None
    a_service(machine, "")
    machine.command("systemctl show -p MainPID --value qpsmtpd.service", "0")
    assert running(machine) is None
