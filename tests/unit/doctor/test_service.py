# SPDX-License-Identifier: MIT
"""Service: user, directories, log files and units."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.service import check_units, check_user
from tests.unit.doctor.fakes import (
    STRANGER,
    FakeMachine,
    an_installation,
    commands,
    examined,
    summary,
)

LIB = "/usr/lib/systemd/system"


def check(machine: FakeMachine, logging: str = "", spool_dir: str = "") -> list[str]:
    installation = an_installation(machine, logging=logging, spool_dir=spool_dir)
    return summary(check_user(examined(installation)))[1:]


def test_user(machine: FakeMachine) -> None:
    found = summary(check_user(an_installation(machine)))
    assert found == ["ok is in qpsmtpd, postdrop"] or found == ["ok is in postdrop, qpsmtpd"]


def test_no_user(machine: FakeMachine) -> None:
    machine.users = {}
    found = list(check_user(an_installation(machine)))
    assert summary(found) == ["error does not exist"]
    assert commands(found)[0].startswith("adduser --system --group")


def test_no_user_of_the_unit(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/qpsmtpd.service", "User=mailer\n")
    found = list(check_user(an_installation(machine)))
    assert summary(found) == ["error does not exist, but qpsmtpd.service names it (User=)"]
    assert not commands(found)


def test_spool_dir(machine: FakeMachine) -> None:
    machine.directory("/spool", 0o770)
    assert check(machine, spool_dir="/spool") == ["ok user qpsmtpd can write to it"]
    made = "ok user qpsmtpd can write to it; it is created at start"
    assert check(machine, spool_dir="/spool/x/y") == [made]
    machine.directory("/spool", 0o755)
    assert check(machine, spool_dir="/spool")[0].startswith("error /spool does not let user")
    found = check_user(an_installation(machine, spool_dir="/spool"))
    assert commands(found) == ["install -d -o qpsmtpd -g qpsmtpd -m 0700 /spool"]


def test_spool_dir_closed_by_the_unit(machine: FakeMachine) -> None:
    machine.directory("/spool", 0o770)
    machine.file(f"{LIB}/qpsmtpd.service", "ProtectSystem=strict\n")
    assert check(machine, spool_dir="/spool")[0].startswith("error qpsmtpd.service does not let")


@pytest.mark.parametrize("name", ["/log/a b.log", "/log/%Y/x", "/log/%i.log"])
def test_log_directory(machine: FakeMachine, name: str) -> None:
    line = f"logging/file {name}"
    assert check(machine, line)[0].startswith("warning /log does not exist")
    machine.directory("/log", 0o770)
    assert check(machine, line) == ["ok user qpsmtpd can write to it"]
    machine.directory("/log", 0o750)
    assert check(machine, line)[0].startswith("error /log does not let")


def test_log_file(machine: FakeMachine) -> None:
    machine.file("/log/x", mode=0o660)
    assert check(machine, "logging/file /log/x") == ["ok user qpsmtpd can write to it"]
    machine.users = {"qpsmtpd": STRANGER}
    (found,) = check(machine, "logging/file /log/x")
    assert found.startswith("warning /log/x does not let")
    assert found.endswith("so nothing is logged")


def test_log_program(machine: FakeMachine) -> None:
    line = "logging/file |/usr/bin/multilog t ./main"
    assert check(machine, line) == [
        "warning /usr/bin/multilog is not a program, so nothing is logged"
    ]
    machine.file("/usr/bin/multilog", mode=0o755)
    assert check(machine, line) == ["ok the program exists"]


# --- units ----------------------------------------------------------------------------------


def units(machine: FakeMachine, enabled: str, active: str) -> list[str]:
    machine.directory("/run/systemd/system")
    machine.file(f"{LIB}/qpsmtpd.socket", "ListenStream=25\n")
    for verb, text in (("is-enabled", enabled), ("is-active", active)):
        machine.command(f"systemctl {verb} qpsmtpd.socket", text, 3)
    return summary(check_units(an_installation(machine)))


def test_without_systemd(machine: FakeMachine) -> None:
    assert summary(check_units(an_installation(machine)))[0].startswith("notice does not run")


def test_states(machine: FakeMachine) -> None:
    missing = "notice is not installed"
    assert units(machine, "enabled", "active") == ["ok enabled, active", missing]
    assert units(machine, "enabled", "inactive") == ["warning enabled, inactive", missing]
    assert units(machine, "disabled", "inactive") == ["notice disabled, inactive", missing]
    assert units(machine, "disabled", "active") == ["notice disabled, active", missing]
    assert units(machine, "enabled", "failed") == ["error enabled, failed", missing]


def test_service(machine: FakeMachine) -> None:
    machine.directory("/run/systemd/system")
    machine.file(f"{LIB}/qpsmtpd.service", "User=qpsmtpd\n")
    assert summary(check_units(an_installation(machine)))[1] == "ok unknown, unknown"
    machine.command("systemctl is-active qpsmtpd.service", "failed", 3)
    found = list(check_units(an_installation(machine)))
    assert commands(found) == [
        "journalctl -u qpsmtpd.service -n 20",
        "systemctl restart qpsmtpd.service",
    ]
