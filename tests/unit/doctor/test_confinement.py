# SPDX-License-Identifier: MIT
"""Confinement: what the unit takes from the daemon, and what the hand-over gives back."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.doctor.confinement import HANDOVER_SERVICE, HANDOVER_SOCKET, read_only, set_id_problem
from qpsmtpd.doctor.processes import running
from tests.unit.doctor.fakes import FakeMachine, a_service

LIB = "/usr/lib/systemd/system"
STRICT = "[Service]\nProtectSystem=strict\nStateDirectory=qpsmtpd\nPrivateTmp=yes\n"
SHIPPED = Path(__file__).parents[3] / "debian"


@pytest.mark.parametrize(
    "path, fine",
    [
        ("/srv/mail", False),
        ("/var/lib/qpsmtpd/x", True),
        ("/var/lib/other", False),
        ("/tmp/x", True),
        ("/mnt/a/b", True),
        ("/home/mail", True),
        ("/mnt/another", False),
    ],
)
def test_read_only(machine: FakeMachine, path: str, fine: bool) -> None:
    paths = "ReadWritePaths=/x -/mnt/a\nBindPaths=-/home/mail\n"
    machine.file(f"{LIB}/qpsmtpd.service", STRICT + paths)
    assert (read_only(machine, Path(path)) is None) is fine


def test_commands(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/qpsmtpd.service", STRICT)
    found = read_only(machine, Path("/srv/mail"))
    assert found
    assert found.commands[1] == (
        "printf '[Service]\\nReadWritePaths=/srv/mail\\n' >> "
        "/etc/systemd/system/qpsmtpd.service.d/local.conf"
    )


def test_not_strict(machine: FakeMachine) -> None:
    assert read_only(machine, Path("/srv")) is None
    machine.file(f"{LIB}/qpsmtpd.service", "ProtectSystem=full\n")
    assert read_only(machine, Path("/srv")) is None


def problem(machine: FakeMachine, program: str = "/usr/sbin/rsmtp") -> str:
    found = set_id_problem(machine, program, running(machine))
    return found.text if found else ""


def a_handover(machine: FakeMachine) -> None:
    command = '/usr/bin/python3 handover.py \\\n  "/usr/sbin/rsmtp -bS" /usr/sbin/qmail-queue\n'
    machine.file(f"{LIB}/{HANDOVER_SERVICE}", f"ExecStart={command}")
    machine.file(f"{LIB}/{HANDOVER_SOCKET}", "ListenSequentialPacket=/run/qpsmtpd/x\n")


def test_free(machine: FakeMachine) -> None:
    assert problem(machine) == ""
    machine.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=no\n")
    assert problem(machine) == ""


def test_confined_without_hand_over(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=yes\n")
    assert "which qpsmtpd.service denies it" in problem(machine)


def test_hand_over(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=yes\n")
    a_handover(machine)
    assert problem(machine) == ""
    assert problem(machine, "/usr/sbin/qmail-queue") == ""
    assert "is not among the programs" in problem(machine, "/opt/queue")


def test_hand_over_has_to_listen_while_the_daemon_runs(machine: FakeMachine) -> None:
    """The kernel knows of settings that imply NoNewPrivileges, too."""
    a_handover(machine)
    a_service(machine, "NoNewPrivs:\t1\n")
    assert "does not listen" in problem(machine)
    machine.file("/run/qpsmtpd/handover.socket")
    assert problem(machine) == ""
    machine.path("/run/qpsmtpd/handover.socket").unlink()
    a_service(machine, "NoNewPrivs:\t0\n")
    assert problem(machine) == ""


@pytest.mark.parametrize(
    "program", ["/usr/sbin/rsmtp", "/usr/sbin/exim4", "/var/qmail/bin/qmail-queue"]
)
def test_units_of_the_package(machine: FakeMachine, program: str) -> None:
    for name in ("qpsmtpd.service", f"qpsmtpd.{HANDOVER_SOCKET}", f"qpsmtpd.{HANDOVER_SERVICE}"):
        unit = name.removeprefix("qpsmtpd.") if "handover" in name else name
        machine.file(f"{LIB}/{unit}", (SHIPPED / name).read_text())
    assert problem(machine, program) == ""
    assert problem(machine, "/opt/queue")
    assert read_only(machine, Path("/var/spool/qpsmtpd")) is None
    assert read_only(machine, Path("/srv/mail"))
