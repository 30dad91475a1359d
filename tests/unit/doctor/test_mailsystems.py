# SPDX-License-Identifier: MIT
"""Mail systems: what is in our way, and what relays for everybody on this machine."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.mailsystems import check_mail_systems
from qpsmtpd.nexthop import hopchecks
from qpsmtpd.nexthop.client import Client
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.target import Target
from tests.unit.doctor.fakes import (
    FakeMachine,
    a_postfix,
    an_installation,
    commands,
    examined,
    summary,
)

SMTP = "smtp inet n - y - - smtpd"
ENABLED = "/etc/systemd/system/sockets.target.wants/qpsmtpd.socket"


def test_none(machine: FakeMachine) -> None:
    assert summary(check_mail_systems(an_installation(machine))) == [
        "notice neither Exim nor Postfix is installed"
    ]


def test_postfix_in_the_way(machine: FakeMachine) -> None:
    a_postfix(machine, SMTP)
    machine.file(ENABLED)
    found = list(check_mail_systems(an_installation(machine, listen=["192.0.2.1:25"])))
    assert summary(found) == ["error is set up to listen on *:25, where qpsmtpd is to listen"]
    assert commands(found) == [
        "postconf -e inet_interfaces=loopback-only",
        "systemctl restart postfix",
    ]


def test_both_want_loopback(machine: FakeMachine) -> None:
    a_postfix(machine, SMTP, interfaces="loopback-only")
    machine.command("hostname -I", "192.0.2.1 2001:db8::1")
    (found,) = check_mail_systems(an_installation(machine, listen=[":25"]))
    assert found.severity.name == "WARNING"
    assert "only on the public addresses (192.0.2.1 2001:db8::1)" in found.advice
    assert found.commands == ("dpkg-reconfigure qpsmtpd",)


def test_out_of_the_way(machine: FakeMachine) -> None:
    a_postfix(machine, SMTP, interfaces="loopback-only")
    found = check_mail_systems(an_installation(machine, listen=["192.0.2.1:25"]))
    assert summary(found) == ["ok listens on localhost:25, not in the way of qpsmtpd"]


@pytest.mark.parametrize(
    ("interfaces", "listen", "told"),
    [
        ("loopback-only", ["milter:127.0.0.1:8891"], True),
        ("all", ["milter:127.0.0.1:8891"], False),
        ("loopback-only", ["milter:127.0.0.1:8891", "192.0.2.1:25"], False),
        ("loopback-only", ["policy:127.0.0.1:8891"], False),
    ],
)
def test_inside_a_postfix_that_has_no_port_either(
    machine: FakeMachine, interfaces: str, listen: list[str], told: bool
) -> None:
    a_postfix(machine, SMTP, interfaces=interfaces)
    found = list(check_mail_systems(an_installation(machine, listen=listen)))
    assert any("takes no mail from the network" in each.text for each in found) == told
    assert ("postconf -e inet_interfaces=all" in commands(found)) == told


def test_no_server(machine: FakeMachine) -> None:
    a_postfix(machine)
    found = check_mail_systems(an_installation(machine, listen=[":25"]))
    assert summary(found) == ["ok accepts no mail from the network, not in the way of qpsmtpd"]


def test_not_known_where_we_listen(machine: FakeMachine) -> None:
    a_postfix(machine, SMTP)
    found = list(check_mail_systems(an_installation(machine)))
    assert summary(found) == ["notice is set up to listen on *:25"]
    assert commands(found)


def test_forward_to_a_postfix_that_trusts_loopback(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_answers(_target: Target) -> Client:
        raise NextHopError("nobody answers")

    monkeypatch.setattr(hopchecks, "connect", nobody_answers)
    a_postfix(machine, SMTP, interfaces="loopback-only")
    plugins = "rcpt_ok\nqueue/smtp-forward {host} 25\n"
    listen = ["192.0.2.1:25"]
    near = examined(an_installation(machine, plugins.format(host="127.0.0.1"), listen=listen))
    assert (
        "only rcpt_ok keeps this from being an open relay" in summary(check_mail_systems(near))[1]
    )
    far = examined(an_installation(machine, plugins.format(host="192.0.2.9"), listen=listen))
    assert len(summary(check_mail_systems(far))) == 1


def test_exim(machine: FakeMachine) -> None:
    machine.file("/usr/sbin/exim4", mode=0o755)
    machine.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces='127.0.0.1'\n")
    installation = an_installation(machine, listen=["192.0.2.1:25"])
    assert summary(check_mail_systems(installation)) == [
        "ok configuration in one file",
        "ok listens on 127.0.0.1:25, not in the way of qpsmtpd",
    ]
    machine.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces=''\n")
    found = list(check_mail_systems(installation))
    assert summary(found)[1].startswith("warning is set up to listen on *:25")
    assert commands(found)[1:] == ["update-exim4.conf", "systemctl restart exim4"]
    machine.file("/etc/exim4/exim4.conf")
    found = list(check_mail_systems(installation))
    assert summary(found)[1].startswith("notice its configuration is your own")
    assert commands(found)[1] == "systemctl restart exim4"
