# SPDX-License-Identifier: MIT
"""Processes: the daemon that runs."""

from __future__ import annotations

from qpsmtpd.doctor.processes import no_new_privileges, process_groups
from tests.unit.doctor.fakes import FakeSystem, a_service


def test_running(system: FakeSystem) -> None:
    a_service(system, "Gid:\t5\t5\t5\t5\nGroups:\t7 8\nNoNewPrivs:\t1\n")
    assert process_groups(system) == frozenset({5, 7, 8})
    assert no_new_privileges(system) is True


def test_not_running(system: FakeSystem) -> None:
    assert process_groups(system) is None
    a_service(system, "")
    system.command("systemctl show -p MainPID --value qpsmtpd.service", "0")
    assert no_new_privileges(system) is None
