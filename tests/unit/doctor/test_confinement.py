# SPDX-License-Identifier: MIT
"""Confinement: what the unit takes from the daemon, and what the hand-over gives back."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.doctor.confinement import HANDOVER_SERVICE, HANDOVER_SOCKET, read_only, set_id_problem
from tests.unit.doctor.fakes import FakeSystem, a_service

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
def test_read_only(system: FakeSystem, path: str, fine: bool) -> None:
    paths = "ReadWritePaths=/x -/mnt/a\nBindPaths=-/home/mail\n"
    system.file(f"{LIB}/qpsmtpd.service", STRICT + paths)
    assert (read_only(system, Path(path)) is None) is fine


def test_commands(system: FakeSystem) -> None:
    system.file(f"{LIB}/qpsmtpd.service", STRICT)
    found = read_only(system, Path("/srv/mail"))
    assert found
    assert found.commands[1] == (
        "printf '[Service]\\nReadWritePaths=/srv/mail\\n' >> "
        "/etc/systemd/system/qpsmtpd.service.d/local.conf"
    )


def test_not_strict(system: FakeSystem) -> None:
    assert read_only(system, Path("/srv")) is None
    system.file(f"{LIB}/qpsmtpd.service", "ProtectSystem=full\n")
    assert read_only(system, Path("/srv")) is None


def problem(system: FakeSystem, program: str = "/usr/sbin/rsmtp") -> str:
    found = set_id_problem(system, program)
    return found.text if found else ""


def a_handover(system: FakeSystem) -> None:
    command = '/usr/bin/python3 handover.py \\\n  "/usr/sbin/rsmtp -bS" /usr/sbin/qmail-queue\n'
    system.file(f"{LIB}/{HANDOVER_SERVICE}", f"ExecStart={command}")
    system.file(f"{LIB}/{HANDOVER_SOCKET}", "ListenSequentialPacket=/run/qpsmtpd/x\n")


def test_free(system: FakeSystem) -> None:
    assert problem(system) == ""
    system.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=no\n")
    assert problem(system) == ""


def test_confined_without_hand_over(system: FakeSystem) -> None:
    system.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=yes\n")
    assert "which qpsmtpd.service takes away" in problem(system)


def test_hand_over(system: FakeSystem) -> None:
    system.file(f"{LIB}/qpsmtpd.service", "NoNewPrivileges=yes\n")
    a_handover(system)
    assert problem(system) == ""
    assert problem(system, "/usr/sbin/qmail-queue") == ""
    assert "is not among the programs" in problem(system, "/opt/queue")


def test_hand_over_has_to_listen_while_the_daemon_runs(system: FakeSystem) -> None:
    """The kernel knows of settings that imply NoNewPrivileges, too."""
    a_handover(system)
    a_service(system, "NoNewPrivs:\t1\n")
    assert "does not listen" in problem(system)
    system.file("/run/qpsmtpd/handover.socket")
    assert problem(system) == ""
    system.path("/run/qpsmtpd/handover.socket").unlink()
    a_service(system, "NoNewPrivs:\t0\n")
    assert problem(system) == ""


@pytest.mark.parametrize(
    "program", ["/usr/sbin/rsmtp", "/usr/sbin/exim4", "/var/qmail/bin/qmail-queue"]
)
def test_units_of_the_package(system: FakeSystem, program: str) -> None:
    for name in ("qpsmtpd.service", f"qpsmtpd.{HANDOVER_SOCKET}", f"qpsmtpd.{HANDOVER_SERVICE}"):
        unit = name.removeprefix("qpsmtpd.") if "handover" in name else name
        system.file(f"{LIB}/{unit}", (SHIPPED / name).read_text())
    assert problem(system, program) == ""
    assert problem(system, "/opt/queue")
    assert read_only(system, Path("/var/spool/qpsmtpd")) is None
    assert read_only(system, Path("/srv/mail"))
