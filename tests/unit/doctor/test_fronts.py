# SPDX-License-Identifier: MIT
"""Fronts: whether Postfix asks us, and can."""

from __future__ import annotations

import shlex

import pytest

from qpsmtpd.config.runoptions import parse_listen
from qpsmtpd.doctor.fronts import check_fronts, untold
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
    assert commands(found) == [
        "postconf -e smtpd_milters=unix:qpsmtpd/milter",
        "postconf -e milter_default_action=tempfail",
        "systemctl reload postfix",
    ]
    [policy] = check_fronts(asked(machine, "policy:127.0.0.1:10030"))
    assert "check_policy_service inet:127.0.0.1:10030" in policy.advice


def test_other_milters_are_still_asked_after_us(machine: FakeMachine) -> None:
    installation = asked(machine, f"milter:{SOCKET}", smtpd_milters="inet:a:1, inet:b:1")
    machine.command("postconf -h smtpd_milters", "$others,{ inet:b:1, connect_timeout=5s }")
    command = commands(check_fronts(installation))[0]
    value = "unix:qpsmtpd/milter, $others, { inet:b:1, connect_timeout=5s }"
    assert command == f"postconf -e 'smtpd_milters={value}'"


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("unix:qpsmtpd/milter", ""),
        ("unix:/qpsmtpd/milter inet:a:1", "inet:a:1"),
        ("inet:a:1,{ unix:qpsmtpd/milter, default_action=accept },inet:b:1", "inet:a:1, inet:b:1"),
    ],
)
@pytest.mark.parametrize("name", ["smtpd_milters", "non_smtpd_milters"])
def test_asked_where_nobody_listens_any_more(
    machine: FakeMachine, name: str, value: str, rest: str
) -> None:
    installation = asked(machine, "192.0.2.1:25", **{name: value})
    machine.command(f"postconf -h {name}", value)
    [found] = check_fronts(installation)
    assert found.severity.name == "ERROR"
    assert "where qpsmtpd does not listen: all mail is deferred" in found.text
    assert found.text.startswith(f"{name} names ")
    assert found.commands == (
        f"postconf -e {shlex.quote(f'{name}={rest}')}",
        "systemctl reload postfix",
    )
    machine.command("postconf -xh milter_default_action", "accept")
    [found] = check_fronts(installation)
    assert found.severity.name == "WARNING"
    assert found.text.endswith("mail passes unseen")


def test_asked_in_vain_by_one_service(machine: FakeMachine) -> None:
    installation = asked(machine, "192.0.2.1:25")
    machine.command("postconf -P", "smtp/inet/smtpd_milters = unix:qpsmtpd/milter,inet:a:1")
    assert commands(check_fronts(installation))[0] == "postconf -P smtp/inet/smtpd_milters=inet:a:1"


def test_what_a_variable_names_is_left_to_the_administrator(machine: FakeMachine) -> None:
    installation = asked(machine, "192.0.2.1:25", smtpd_milters="unix:qpsmtpd/milter")
    machine.command("postconf -h smtpd_milters", "$mine")
    [found] = check_fronts(installation)
    assert found.advice and not found.commands


def test_a_policy_service_that_is_gone(machine: FakeMachine) -> None:
    value = "reject_unauth_destination, check_policy_service unix:qpsmtpd/policy"
    lists = {"smtpd_recipient_restrictions": value, "smtpd_milters": "unix:qpsmtpd/milter"}
    machine.file(SOCKET, mode=0o666)
    installation = asked(machine, f"milter:{SOCKET}", **lists)
    found = list(check_fronts(installation))
    assert summary(found) == [
        "ok is asked by Postfix",
        "error smtpd_recipient_restrictions names unix:qpsmtpd/policy, where qpsmtpd does not "
        "listen: all mail is deferred",
    ]
    assert found[1].advice and not found[1].commands


def test_other_milters_are_none_of_our_business(machine: FakeMachine) -> None:
    others = "unix:opendkim/opendkim.sock, inet:127.0.0.1:8891"
    assert list(check_fronts(asked(machine, "192.0.2.1:25", smtpd_milters=others))) == []


def test_where_nothing_says_where_we_listen_nobody_asks_in_vain(machine: FakeMachine) -> None:
    asked(machine, "192.0.2.1:25", smtpd_milters="unix:qpsmtpd/milter")
    assert list(check_fronts(an_installation(machine))) == []


def test_what_postfix_is_to_be_told(machine: FakeMachine) -> None:
    """The same as the doctor says, but for what is only so once we have been started."""
    fronts = [parse_listen(f"milter:{SOCKET}"), parse_listen("policy:127.0.0.1:10030")]
    asked(machine, f"milter:{SOCKET}")
    said = summary(untold(machine, fronts, SOCKET))
    assert said == ["warning smtpd_milters of Postfix does not name it"]
    asked(machine, f"milter:{SOCKET}", smtpd_milters="unix:qpsmtpd/milter")
    assert list(untold(machine, fronts, SOCKET)) == []
    assert len(list(untold(machine, [], SOCKET))) == 1


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
