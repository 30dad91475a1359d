# SPDX-License-Identifier: MIT
"""queue/exim-bsmtp and queue/qmail-queue: programs that need their rights."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.installation import Installation
from tests.unit.doctor.fakes import FakeMachine, an_installation, commands, said_by, summary

EXIM = "/usr/sbin/exim4"
ASK = f"{EXIM} -bP trusted_users untrusted_set_sender local_sender_retain"
RIGHTS = "ok can be run, with its owner's privileges"


def check_exim(installation: Installation) -> list[str]:
    return summary(said_by(installation, "queue/exim-bsmtp"))


def check_qmail(installation: Installation) -> list[str]:
    """What is found, but for what is always so."""
    *found, always = summary(said_by(installation, "queue/qmail-queue"))
    assert always.startswith("notice cannot be asked about recipients")
    return found


@pytest.fixture
def exim(machine: FakeMachine) -> Installation:
    machine.file(EXIM, mode=0o4755)
    machine.command(ASK, "trusted_users = uucp : qpsmtpd")
    return an_installation(machine, "rcpt_ok\nqueue/exim-bsmtp\n")


ASKED = "ok says which recipients Exim does not have"


def test_exim_cannot_be_asked(exim: Installation, machine: FakeMachine) -> None:
    """As in a hand-over whose commands were written down before."""
    units = "/usr/lib/systemd/system/qpsmtpd"
    machine.file(f"{units}.service", "NoNewPrivileges=yes\n")
    machine.file(f"{units}-handover.socket", "ListenSequentialPacket=/run/qpsmtpd/x\n")
    service = machine.file(f"{units}-handover@.service", 'ExecStart=x "/usr/sbin/exim4 -bS"\n')
    assert check_exim(exim)[-1].startswith("error is not among the programs")
    service.write_text('ExecStart=x "/usr/sbin/exim4 -bS" "/usr/sbin/exim4 -bv"\n')
    assert check_exim(exim)[-1] == ASKED


def test_exim_is_fine(exim: Installation) -> None:
    assert check_exim(exim) == [RIGHTS, "ok trusts user qpsmtpd", ASKED]


def test_no_exim(machine: FakeMachine) -> None:
    installation = an_installation(machine, "rcpt_ok\nqueue/exim-bsmtp\n")
    assert check_exim(installation) == ["error does not exist"]


def test_rsmtp_comes_first(exim: Installation, machine: FakeMachine) -> None:
    machine.file("/usr/sbin/rsmtp", mode=0o4755)
    program, trust, _ = said_by(exim, "queue/exim-bsmtp")
    assert program.subject == "/usr/sbin/rsmtp"
    # rsmtp itself would read batch SMTP.
    assert trust.text == "trusts user qpsmtpd"


def test_exim_not_for_us(exim: Installation, machine: FakeMachine) -> None:
    machine.file(EXIM, mode=0o4700)
    assert check_exim(exim)[0].startswith("error /usr/sbin/exim4 does not let user qpsmtpd run")


def test_exim_without_its_set_id_bit(exim: Installation, machine: FakeMachine) -> None:
    machine.file(EXIM, mode=0o755)
    assert check_exim(exim)[0].startswith("error has lost its set-id bit")


def test_a_directory(exim: Installation, machine: FakeMachine) -> None:
    machine.path(EXIM).unlink()
    machine.directory(EXIM)
    assert check_exim(exim) == ["error is not a program"]


def test_exim_does_not_trust_us(exim: Installation, machine: FakeMachine) -> None:
    machine.command(ASK, "trusted_users = uucp\nuntrusted_set_sender =\nno_local_sender_retain")
    found = said_by(exim, "queue/exim-bsmtp")
    assert summary(found)[1].startswith("warning does not trust user qpsmtpd")
    assert commands(found) == [
        "echo 'MAIN_TRUSTED_USERS = uucp : qpsmtpd' >> /etc/exim4/exim4.conf.localmacros",
        "update-exim4.conf",
    ]


def test_exim_of_debian_lets_everybody(exim: Installation, machine: FakeMachine) -> None:
    machine.command(ASK, "trusted_users = uucp\nuntrusted_set_sender = *\nlocal_sender_retain")
    assert check_exim(exim)[1].startswith("notice does not trust user qpsmtpd, but lets every user")


def test_exim_does_not_tell(exim: Installation, machine: FakeMachine) -> None:
    machine.answers.clear()
    assert check_exim(exim)[1] == "notice does not say whether it trusts user qpsmtpd"


def test_exim_without_its_rights(exim: Installation, machine: FakeMachine) -> None:
    machine.file("/usr/lib/systemd/system/qpsmtpd.service", "[Service]\nNoNewPrivileges=yes\n")
    assert check_exim(exim)[0].startswith("error needs its owner's privileges")


def test_qmail(machine: FakeMachine) -> None:
    installation = an_installation(machine, "rcpt_ok\nqueue/qmail-queue\n")
    assert check_qmail(installation) == ["error does not exist"]
    machine.file("/var/qmail/bin/qmail-queue", mode=0o4711)
    assert check_qmail(installation) == [RIGHTS]
    machine.file("/var/qmail/bin/qmail-queue", mode=0o711)
    assert check_qmail(installation)[0].startswith("error has lost")


def test_what_stands_in_for_qmail_needs_no_rights(machine: FakeMachine) -> None:
    installation = an_installation(machine, "rcpt_ok\nqueue/qmail-queue /opt/queue\n")
    machine.file("/opt/queue", mode=0o755)
    assert check_qmail(installation) == ["ok can be run"]
    machine.environment["QMAILQUEUE"] = "/opt/other"
    again = an_installation(machine, "rcpt_ok\nqueue/qmail-queue /opt/queue\n")
    assert check_qmail(again) == ["error does not exist"]
