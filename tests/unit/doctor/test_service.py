# SPDX-License-Identifier: MIT
"""Service: user, directories, log files and units."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.service import check_units, check_user
from tests.unit.doctor.fakes import STRANGER, FakeSystem, an_installation, commands, summary

LIB = "/usr/lib/systemd/system"


def check(system: FakeSystem, logging: str = "", spool_dir: str = "") -> list[str]:
    installation = an_installation(system, logging=logging, spool_dir=spool_dir)
    return summary(check_user(installation))[1:]


def test_user(system: FakeSystem) -> None:
    found = summary(check_user(an_installation(system)))
    assert found == ["ok is in qpsmtpd, postdrop"] or found == ["ok is in postdrop, qpsmtpd"]


def test_no_user(system: FakeSystem) -> None:
    system.users = {}
    found = list(check_user(an_installation(system)))
    assert summary(found) == ["error does not exist"]
    assert commands(found)[0].startswith("adduser --system --group")


def test_no_user_of_the_unit(system: FakeSystem) -> None:
    system.file(f"{LIB}/qpsmtpd.service", "User=mailer\n")
    found = list(check_user(an_installation(system)))
    assert summary(found) == ["error does not exist, but qpsmtpd.service names it (User=)"]
    assert not commands(found)


def test_spool_dir(system: FakeSystem) -> None:
    system.directory("/spool", 0o770)
    assert check(system, spool_dir="/spool") == ["ok user qpsmtpd can write to it"]
    made = "ok user qpsmtpd can write to it; it is made at start"
    assert check(system, spool_dir="/spool/x/y") == [made]
    system.directory("/spool", 0o755)
    assert check(system, spool_dir="/spool")[0].startswith("error /spool does not let user")
    found = check_user(an_installation(system, spool_dir="/spool"))
    assert commands(found) == ["install -d -o qpsmtpd -g qpsmtpd -m 0700 /spool"]


def test_spool_dir_closed_by_the_unit(system: FakeSystem) -> None:
    system.directory("/spool", 0o770)
    system.file(f"{LIB}/qpsmtpd.service", "ProtectSystem=strict\n")
    assert check(system, spool_dir="/spool")[0].startswith("error qpsmtpd.service does not let")


@pytest.mark.parametrize("name", ["/log/a b.log", "/log/%Y/x", "/log/%i.log"])
def test_log_directory(system: FakeSystem, name: str) -> None:
    line = f"logging/file {name}"
    assert check(system, line)[0].startswith("warning /log does not exist")
    system.directory("/log", 0o770)
    assert check(system, line) == ["ok user qpsmtpd can write to it"]
    system.directory("/log", 0o750)
    assert check(system, line)[0].startswith("error /log does not let")


def test_log_file(system: FakeSystem) -> None:
    system.file("/log/x", mode=0o660)
    assert check(system, "logging/file /log/x") == ["ok user qpsmtpd can write to it"]
    system.users = {"qpsmtpd": STRANGER}
    (found,) = check(system, "logging/file /log/x")
    assert found.startswith("warning /log/x does not let")
    assert found.endswith("so nothing is logged")


def test_log_program(system: FakeSystem) -> None:
    line = "logging/file |/usr/bin/multilog t ./main"
    assert check(system, line) == ["warning /usr/bin/multilog is no program, so nothing is logged"]
    system.file("/usr/bin/multilog", mode=0o755)
    assert check(system, line) == ["ok the program is there"]


# --- units ----------------------------------------------------------------------------------


def units(system: FakeSystem, enabled: str, active: str) -> list[str]:
    system.directory("/run/systemd/system")
    system.file(f"{LIB}/qpsmtpd.socket", "ListenStream=25\n")
    for verb, text in (("is-enabled", enabled), ("is-active", active)):
        system.command(f"systemctl {verb} qpsmtpd.socket", text, 3)
    return summary(check_units(an_installation(system)))


def test_without_systemd(system: FakeSystem) -> None:
    assert summary(check_units(an_installation(system)))[0].startswith("notice does not run")


def test_states(system: FakeSystem) -> None:
    missing = "notice is not installed"
    assert units(system, "enabled", "active") == ["ok enabled, active", missing]
    assert units(system, "enabled", "inactive") == ["warning enabled, inactive", missing]
    assert units(system, "disabled", "inactive") == ["notice disabled, inactive", missing]
    assert units(system, "disabled", "active") == ["notice disabled, active", missing]
    assert units(system, "enabled", "failed") == ["error enabled, failed", missing]


def test_service(system: FakeSystem) -> None:
    system.directory("/run/systemd/system")
    system.file(f"{LIB}/qpsmtpd.service", "User=qpsmtpd\n")
    assert summary(check_units(an_installation(system)))[1] == "ok unknown, unknown"
    system.command("systemctl is-active qpsmtpd.service", "failed", 3)
    found = list(check_units(an_installation(system)))
    assert commands(found) == [
        "journalctl -u qpsmtpd.service -n 20",
        "systemctl restart qpsmtpd.service",
    ]
