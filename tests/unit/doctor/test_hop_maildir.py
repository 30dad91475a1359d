# SPDX-License-Identifier: MIT
"""queue/maildir: directories of the user, or that it can make."""

from __future__ import annotations

from pathlib import Path

from qpsmtpd.doctor.hop_maildir import check_maildir, existing
from qpsmtpd.doctor.installation import Installation
from tests.unit.doctor.fakes import FakeSystem, an_installation, commands, summary


def check(installation: Installation) -> list[str]:
    (line,) = installation.plugins("queue/maildir")
    return summary(check_maildir(installation, line))


def a_maildir(system: FakeSystem, mode: int = 0o770) -> Installation:
    for part in ("", "/tmp", "/new", "/cur"):
        system.directory(f"/var/mail{part}", mode)
    return an_installation(system, "rcpt_ok\nqueue/maildir /var/mail\n")


def test_fine(system: FakeSystem) -> None:
    assert check(a_maildir(system)) == ["ok user qpsmtpd can deliver here"]


def test_of_somebody_else(system: FakeSystem) -> None:
    installation = a_maildir(system, 0o755)
    assert check(installation)[0].startswith("error /var/mail does not let user qpsmtpd")
    (line,) = installation.plugins("queue/maildir")
    assert commands(check_maildir(installation, line)) == [
        "install -d -o qpsmtpd -g qpsmtpd -m 700 "
        "/var/mail /var/mail/tmp /var/mail/new /var/mail/cur"
    ]


def test_part_of_somebody_else(system: FakeSystem) -> None:
    installation = a_maildir(system)
    system.directory("/var/mail/new", 0o700)
    assert check(installation)[0].startswith("error /var/mail/new does not let")


def test_to_be_made(system: FakeSystem) -> None:
    system.directory("/var", 0o775)
    installation = an_installation(system, "rcpt_ok\nqueue/maildir /var/mail\n")
    assert check(installation) == ["notice does not exist; qpsmtpd makes it when it starts"]
    system.directory("/var", 0o755)
    assert check(installation)[0].startswith("error /var does not let")


def test_by_recipient(system: FakeSystem) -> None:
    """The Maildirs come with the recipients; the directory above has to be there."""
    system.directory("/var/mail", 0o770)
    installation = an_installation(system, "rcpt_ok\nqueue/maildir /var/mail %d/%l 770\n")
    assert check(installation) == ["ok user qpsmtpd can deliver here"]
    system.directory("/var/mail", 0o700)
    (line,) = installation.plugins("queue/maildir")
    assert commands(check_maildir(installation, line)) == [
        "install -d -o qpsmtpd -g qpsmtpd -m 770 /var/mail"
    ]


def test_closed_by_the_unit(system: FakeSystem) -> None:
    system.file("/usr/lib/systemd/system/qpsmtpd.service", "ProtectSystem=strict\n")
    (found,) = check(a_maildir(system))
    assert found.startswith("error qpsmtpd.service does not let the daemon")


def test_closed_by_the_unit_and_still_to_be_made(system: FakeSystem) -> None:
    system.file("/usr/lib/systemd/system/qpsmtpd.service", "ProtectSystem=strict\n")
    system.directory("/var", 0o775)
    first, second = check(an_installation(system, "rcpt_ok\nqueue/maildir /var/mail\n"))
    assert first.startswith("error qpsmtpd.service does not let the daemon")
    assert second.startswith("notice does not exist")


def test_without_the_user(system: FakeSystem) -> None:
    system.users = {}
    assert check(a_maildir(system)) == []


def test_existing(system: FakeSystem) -> None:
    system.directory("/a/b")
    assert existing(system, Path("/a/b/c/d")) == Path("/a/b")
    assert existing(system, Path("/x")) == Path("/")
