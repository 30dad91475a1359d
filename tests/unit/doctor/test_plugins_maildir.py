# SPDX-License-Identifier: MIT
"""queue/maildir: directories of the user, or that it can make."""

from __future__ import annotations

from qpsmtpd.doctor.installation import Installation
from tests.unit.doctor.fakes import FakeMachine, an_installation, commands, said_by, summary


def check(installation: Installation) -> list[str]:
    return summary(said_by(installation, "queue/maildir"))


def a_maildir(machine: FakeMachine, mode: int = 0o770) -> Installation:
    for part in ("", "/tmp", "/new", "/cur"):
        machine.directory(f"/var/mail{part}", mode)
    return an_installation(machine, "rcpt_ok\nqueue/maildir /var/mail\n")


def test_fine(machine: FakeMachine) -> None:
    assert check(a_maildir(machine)) == ["ok user qpsmtpd can deliver here"]


def test_of_somebody_else(machine: FakeMachine) -> None:
    installation = a_maildir(machine, 0o755)
    assert check(installation)[0].startswith("error /var/mail does not let user qpsmtpd")
    assert commands(said_by(installation, "queue/maildir")) == [
        "install -d -o qpsmtpd -g qpsmtpd -m 700 "
        "/var/mail /var/mail/tmp /var/mail/new /var/mail/cur"
    ]


def test_part_of_somebody_else(machine: FakeMachine) -> None:
    installation = a_maildir(machine)
    machine.directory("/var/mail/new", 0o700)
    assert check(installation)[0].startswith("error /var/mail/new does not let")


def test_to_be_made(machine: FakeMachine) -> None:
    machine.directory("/var", 0o775)
    installation = an_installation(machine, "rcpt_ok\nqueue/maildir /var/mail\n")
    assert check(installation) == ["notice does not exist; qpsmtpd creates it when it starts"]
    machine.directory("/var", 0o755)
    assert check(installation)[0].startswith("error /var does not let")


def test_by_recipient(machine: FakeMachine) -> None:
    """The Maildirs come with the recipients; the directory above has to be there."""
    machine.directory("/var/mail", 0o770)
    installation = an_installation(machine, "rcpt_ok\nqueue/maildir /var/mail %d/%l 770\n")
    assert check(installation) == ["ok user qpsmtpd can deliver here"]
    machine.directory("/var/mail", 0o700)
    assert commands(said_by(installation, "queue/maildir")) == [
        "install -d -o qpsmtpd -g qpsmtpd -m 770 /var/mail"
    ]


def test_closed_by_the_unit(machine: FakeMachine) -> None:
    machine.file("/usr/lib/systemd/system/qpsmtpd.service", "ProtectSystem=strict\n")
    (found,) = check(a_maildir(machine))
    assert found.startswith("error qpsmtpd.service does not let the daemon")


def test_closed_by_the_unit_and_still_to_be_made(machine: FakeMachine) -> None:
    machine.file("/usr/lib/systemd/system/qpsmtpd.service", "ProtectSystem=strict\n")
    machine.directory("/var", 0o775)
    first, second = check(an_installation(machine, "rcpt_ok\nqueue/maildir /var/mail\n"))
    assert first.startswith("error qpsmtpd.service does not let the daemon")
    assert second.startswith("notice does not exist")


def test_without_the_user(machine: FakeMachine) -> None:
    machine.users = {}
    assert check(a_maildir(machine)) == []
