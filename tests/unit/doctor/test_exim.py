# SPDX-License-Identifier: MIT
"""Exim: what its Debian configuration says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.exim import Exim, parse_interfaces
from qpsmtpd.nexthop.eximtrust import OWN_FILE, PROGRAM, SETTINGS
from tests.unit.doctor.fakes import FakeMachine


def an_exim(machine: FakeMachine, settings: str = "") -> Exim:
    machine.file(PROGRAM, mode=0o755)
    machine.file(SETTINGS, settings)
    exim = Exim.read(machine)
    assert exim
    return exim


def test_none(machine: FakeMachine) -> None:
    machine.file(SETTINGS, "dc_local_interfaces=''\n")
    assert Exim.read(machine) is None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("dc_local_interfaces='127.0.0.1 ; ::1'", ["127.0.0.1:25", "[::1]:25"]),
        ('dc_local_interfaces=""', ["*:25"]),
        ("#dc_local_interfaces='127.0.0.1'", ["*:25"]),
        ("dc_local_interfaces='<; 192.0.2.1.26 ; [::1]:587'", ["192.0.2.1:26", "[::1]:587"]),
        ("dc_local_interfaces='0.0.0.0;::0;::1.26'", ["0.0.0.0:25", "[::]:25", "[::1]:26"]),
    ],
)
def test_addresses(machine: FakeMachine, text: str, expected: list[str]) -> None:
    assert list(map(str, an_exim(machine, f"# x\n{text}\n").addresses)) == expected


@given(st.text())
def test_any_interfaces(text: str) -> None:
    for address in parse_interfaces(text):
        assert address.host


def test_to_loopback(machine: FakeMachine) -> None:
    assert an_exim(machine).to_loopback == (
        "sed -i \"s/^dc_local_interfaces=.*/dc_local_interfaces='127.0.0.1 ; ::1'/\" "
        "/etc/exim4/update-exim4.conf.conf",
        "update-exim4.conf",
        "systemctl restart exim4",
    )


def test_on_loopback_already(machine: FakeMachine) -> None:
    assert an_exim(machine, "dc_local_interfaces='127.0.0.1 ; ::1'\n").to_loopback == ()


def test_own_configuration(machine: FakeMachine) -> None:
    machine.file(OWN_FILE)
    exim = an_exim(machine, "dc_local_interfaces='127.0.0.1'\n")
    assert (exim.addresses, exim.own) == ([], True)
    assert "local_interfaces = <; 127.0.0.1 ; ::1" in exim.to_loopback[0]
    assert OWN_FILE in exim.form


def test_forms(machine: FakeMachine) -> None:
    plain = an_exim(machine, "dc_use_split_config='false'\n")
    split = an_exim(machine, "dc_use_split_config='true'\n")
    assert (plain.form, split.form) == ("configuration in one file", "split configuration conf.d")
