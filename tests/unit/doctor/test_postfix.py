# SPDX-License-Identifier: MIT
"""Postfix: what postconf says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.postfix import Postfix, _has_loopback
from tests.unit.doctor.fakes import FakeMachine, a_postfix

SUBMISSION = "submission inet n - y - - smtpd -o smtpd_tls_security_level=encrypt"
SMTP = "smtp inet n - y - - smtpd"


def addresses(postfix: Postfix) -> list[str]:
    return list(map(str, postfix.addresses))


def test_none(machine: FakeMachine) -> None:
    assert Postfix.read(machine) is None
    machine.command("postconf -xh inet_interfaces", "", 1)
    assert Postfix.read(machine) is None


def test_all_interfaces(machine: FakeMachine) -> None:
    postfix = a_postfix(machine, SMTP, "pickup unix n - y 60 1 pickup", "628 inet n - y - - qmqpd")
    assert addresses(postfix) == ["*:25"]
    assert postfix.to_loopback == (
        "postconf -e inet_interfaces=loopback-only",
        "systemctl restart postfix",
    )


@pytest.mark.parametrize(
    "interfaces, expected",
    [
        ("loopback-only", ["localhost:25"]),
        ("192.0.2.1, [::1]", ["192.0.2.1:25", "[::1]:25"]),
        ("all", ["*:25"]),
    ],
)
def test_interfaces(machine: FakeMachine, interfaces: str, expected: list[str]) -> None:
    assert addresses(a_postfix(machine, SMTP, interfaces=interfaces)) == expected


def test_services_with_an_address(machine: FakeMachine) -> None:
    postfix = a_postfix(
        machine, "192.0.2.1:smtp inet n - y - 1 postscreen", "[::1]:10025 inet n - y - - smtpd"
    )
    assert addresses(postfix) == ["192.0.2.1:25", "[::1]:10025"]
    assert postfix.to_loopback == (
        "postconf -M# 192.0.2.1:smtp/inet",
        "systemctl restart postfix",
    )


@pytest.mark.parametrize("interfaces", ["loopback-only", "127.0.0.1, [::1]", "localhost"])
def test_on_loopback_already(machine: FakeMachine, interfaces: str) -> None:
    assert a_postfix(machine, SMTP, interfaces=interfaces).to_loopback == ()


def test_submission_stays_reachable(machine: FakeMachine) -> None:
    assert a_postfix(machine, SMTP, SUBMISSION).to_loopback == (
        "postconf -M# smtp/inet",
        "postconf -Me '127.0.0.1:smtp/inet=127.0.0.1:smtp inet n - y - - smtpd'",
        "systemctl restart postfix",
    )


@pytest.mark.parametrize(
    "networks, expected",
    [
        ("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", True),
        ("127.0.0.1", True),
        ("192.0.2.0/24", False),
        ("hash:/etc/postfix/networks", False),
        ("", False),
    ],
)
def test_networks(machine: FakeMachine, networks: str, expected: bool) -> None:
    assert a_postfix(machine, SMTP, networks=networks).trusts_loopback is expected


@given(st.text())
def test_any_network(text: str) -> None:
    _has_loopback(text)
