# SPDX-License-Identifier: MIT
"""Configuration: every problem, and nothing is made."""

from __future__ import annotations

import pytest

from qpsmtpd.config.problems import Problem
from qpsmtpd.doctor import configuration
from qpsmtpd.doctor.configuration import check_configuration
from tests.unit.doctor.fakes import STRANGER, FakeMachine, an_installation, summary

CHAIN = "rcpt_ok\nqueue/qmail-queue\n"


def test_fine(machine: FakeMachine) -> None:
    found = list(check_configuration(an_installation(machine, CHAIN)))
    assert summary(found) == ["ok 2 plugins, no problems"]
    assert found[0].subject == "/etc/qpsmtpd"


def test_all_problems(machine: FakeMachine) -> None:
    chain = "nonsense\nrcpt_ok x=1\nqueue/discard\n"
    found = list(check_configuration(an_installation(machine, chain, timeout="soon\n")))
    assert {f.subject.rpartition("/")[2]: f.severity.name for f in found} == {
        "timeout:1": "ERROR",
        "plugins:1": "ERROR",
        "plugins:2": "WARNING",
    }


def test_warnings(machine: FakeMachine) -> None:
    assert summary(check_configuration(an_installation(machine))) == [
        "warning queue/discard: every message is accepted and thrown away"
    ]


def test_problems_at_start(machine: FakeMachine) -> None:
    found = summary(check_configuration(an_installation(machine, "tls\n" + CHAIN)))
    assert found == ["error tls: cannot be read (No such file or directory)"]


def test_no_maildir_is_made(machine: FakeMachine) -> None:
    directory = machine.path("/m")
    chain = f"nonsense\nrcpt_ok\nqueue/maildir {directory}\n"
    found = summary(check_configuration(an_installation(machine, chain)))
    assert len(found) == 1
    assert found[0].startswith("error nonsense")
    assert not directory.exists()


def test_user_that_we_cannot_be(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_user(account: object, function: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(machine, "as_user", as_user)
    assert summary(check_configuration(an_installation(machine, CHAIN))) == ["warning no"]


@pytest.mark.parametrize("uid, severity", [(0, "ERROR"), (STRANGER.uid, "ERROR"), (1, "NOTICE")])
def test_what_we_may_not_read(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, uid: int, severity: str
) -> None:
    """When neither root nor the daemon's user looks, a closed file may be as it should."""
    problem = Problem("/etc/qpsmtpd/x", "cannot be read: Permission denied")
    monkeypatch.setattr(configuration, "problems_of", lambda _: [problem])
    machine.fake_uid = uid
    (found,) = check_configuration(an_installation(machine, CHAIN))
    assert found.severity.name == severity
