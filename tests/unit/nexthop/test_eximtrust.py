# SPDX-License-Identifier: MIT
"""Exim's trust: what Exim tells, and the commands that make it trust a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.nexthop.eximtrust import OWN_FILE, PROGRAM, SETTINGS, options_of, to_trust
from tests.unit.doctor.fakes import FakeMachine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def test_to_trust(machine: FakeMachine) -> None:
    machine.file(SETTINGS, "dc_use_split_config='false'\n")
    assert to_trust(machine, "qpsmtpd", ["uucp"]) == (
        "echo 'MAIN_TRUSTED_USERS = uucp : qpsmtpd' >> /etc/exim4/exim4.conf.localmacros",
        "update-exim4.conf",
    )
    machine.file(SETTINGS, "dc_use_split_config='true'\n")
    assert to_trust(machine, "qpsmtpd", ["uucp"])[0].endswith(
        ">> /etc/exim4/conf.d/main/000_localmacros"
    )


def test_to_trust_when_the_macro_is_there(machine: FakeMachine) -> None:
    """Exim refuses a macro that is defined twice."""
    machine.file("/etc/exim4/exim4.conf.localmacros", "MAIN_TRUSTED_USERS = uucp\n")
    assert to_trust(machine, "qpsmtpd", ["uucp"])[0] == (
        "sed -i 's/^ *MAIN_TRUSTED_USERS *=.*/MAIN_TRUSTED_USERS = uucp : qpsmtpd/' "
        "/etc/exim4/exim4.conf.localmacros"
    )


def test_own_configuration(machine: FakeMachine) -> None:
    machine.file(OWN_FILE)
    (command,) = to_trust(machine, "b", ["a"])
    assert command.endswith("# trusted_users = a : b")


def test_options(machine: FakeMachine) -> None:
    assert options_of(machine, PROGRAM, "a") is None
    machine.command(f"{PROGRAM} -bP a b c", "a = uucp : x\nb\nno_c")
    assert options_of(machine, PROGRAM, "a", "b", "c") == {"a": "uucp : x", "b": ""}
    machine.command(f"{PROGRAM} -bP d", "", 1)
    assert options_of(machine, PROGRAM, "d") is None
