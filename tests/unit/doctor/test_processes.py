# SPDX-License-Identifier: MIT
"""Processes: the daemon that runs."""

from __future__ import annotations

from qpsmtpd.doctor.processes import no_new_privileges, process_groups
from tests.unit.doctor.fakes import FakeMachine, a_service


def test_running(machine: FakeMachine) -> None:
    a_service(machine, "Gid:\t5\t5\t5\t5\nGroups:\t7 8\nNoNewPrivs:\t1\n")
    assert process_groups(machine) == frozenset({5, 7, 8})
    assert no_new_privileges(machine) is True


def test_not_running(machine: FakeMachine) -> None:
    assert process_groups(machine) is None
    a_service(machine, "")
    machine.command("systemctl show -p MainPID --value qpsmtpd.service", "0")
    assert no_new_privileges(machine) is None
