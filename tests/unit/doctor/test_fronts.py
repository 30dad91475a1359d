# SPDX-License-Identifier: MIT
"""Fronts: whether Postfix asks us, and can."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.fronts import check_fronts
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.system import Account
from tests.unit.doctor.fakes import FakeMachine, a_postfix, an_installation, commands, summary

SMTPD = "smtp inet n - {} - - smtpd"
QUEUE = "/var/spool/postfix"
SOCKET = f"{QUEUE}/qpsmtpd/milter"


def asked(machine: FakeMachine, listen: str, chroot: str = "y", **parameters: str) -> Installation:
    """An installation that listens there, and a Postfix with these parameters."""
    a_postfix(machine, SMTPD.format(chroot))
    machine.users["postfix"] = Account("postfix", 54322, frozenset({54322}))
    for name, value in {"queue_directory": QUEUE, **parameters}.items():
        machine.command(f"postconf -xh {name}", value)
    return an_installation(machine, listen=[listen])


def test_nobody_asks(machine: FakeMachine) -> None:
    assert summary(check_fronts(an_installation(machine, listen=["milter:127.0.0.1:8891"]))) == [
        "notice there is no Postfix here that could ask"
    ]
    for listen in ("127.0.0.1:25", "lmtp:127.0.0.1:24", "lmtp:/run/qpsmtpd/lmtp"):
        assert list(check_fronts(an_installation(machine, listen=[listen]))) == []


@pytest.mark.parametrize(
    ("listen", "name", "value", "chroot"),
    [
        ("milter:127.0.0.1:8891", "smtpd_milters", "inet:127.0.0.1:8891", "y"),
        ("milter::8891", "non_smtpd_milters", "unix:/x, inet:localhost:8891", "n"),
        ("milter:[::1]:8891", "smtpd_milters", "{ inet:[::1]:8891, default_action=accept }", "n"),
        (f"milter:{SOCKET}", "smtpd_milters", "unix:qpsmtpd/milter", "y"),
        (f"milter:{SOCKET}", "smtpd_milters", "unix:/qpsmtpd/milter", "y"),
        (f"milter:{SOCKET}", "smtpd_milters", f"unix:{SOCKET}", "n"),
        (
            "policy:127.0.0.1:10030",
            "smtpd_recipient_restrictions",
            "reject_unauth_destination, check_policy_service inet:127.0.0.1:10030",
            "y",
        ),
    ],
)
def test_asked(machine: FakeMachine, listen: str, name: str, value: str, chroot: str) -> None:
    machine.file(SOCKET, mode=0o666)
    found = list(check_fronts(asked(machine, listen, chroot, **{name: value})))
    assert summary(found)[-1:] == ["ok is asked by Postfix"]


def test_asked_by_one_service_only(machine: FakeMachine) -> None:
    installation = asked(machine, "milter:127.0.0.1:8891")
    machine.command("postconf -P", "smtp/inet/smtpd_milters = inet:127.0.0.1:8891")
    assert summary(check_fronts(installation)) == ["ok is asked by Postfix"]


def test_not_asked(machine: FakeMachine) -> None:
    installation = asked(machine, f"milter:{SOCKET}", smtpd_milters="inet:127.0.0.1:8891")
    found = list(check_fronts(installation))
    assert summary(found) == ["warning smtpd_milters of Postfix does not name it"]
    assert commands(found)[0] == "postconf -e smtpd_milters=unix:qpsmtpd/milter"
    [policy] = check_fronts(asked(machine, "policy:127.0.0.1:10030"))
    assert "check_policy_service inet:127.0.0.1:10030" in policy.advice


def test_a_chroot_that_the_socket_is_outside_of(machine: FakeMachine) -> None:
    machine.file("/run/qpsmtpd/milter", mode=0o666)
    machine.file(f"{QUEUE}/run/qpsmtpd/milter", mode=0o666)
    path = "/run/qpsmtpd/milter"
    [found] = check_fronts(asked(machine, f"milter:{path}", "n", smtpd_milters=f"unix:{path}"))
    assert found.severity.name == "OK"
    found = next(check_fronts(asked(machine, f"milter:{path}", smtpd_milters=f"unix:{path}")))
    assert "is in a chroot" in found.text


def test_a_socket_that_is_not_there(machine: FakeMachine) -> None:
    installation = asked(machine, f"milter:{SOCKET}", smtpd_milters="unix:qpsmtpd/milter")
    [found] = check_fronts(installation)
    assert found.severity.name == "WARNING"
    assert "does not exist" in found.text


def test_a_socket_that_postfix_may_not_use(machine: FakeMachine) -> None:
    machine.file(SOCKET, mode=0o660)
    installation = asked(machine, f"milter:{SOCKET}", smtpd_milters="unix:qpsmtpd/milter")
    [found] = check_fronts(installation)
    assert found.severity.name == "ERROR"
    assert "SocketGroup=postfix" in found.advice


def test_mail_that_would_pass_unseen(machine: FakeMachine) -> None:
    installation = asked(
        machine,
        "milter:127.0.0.1:8891",
        smtpd_milters="inet:127.0.0.1:8891",
        milter_default_action="accept",
    )
    assert commands(check_fronts(installation)) == ["postconf -e milter_default_action=tempfail"]


def test_an_address_that_others_can_reach(machine: FakeMachine) -> None:
    found = list(check_fronts(asked(machine, "milter::8891", smtpd_milters="inet:127.0.0.1:8891")))
    assert found[0].text.startswith("others than this machine may ask here")
