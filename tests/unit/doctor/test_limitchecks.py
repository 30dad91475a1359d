# SPDX-License-Identifier: MIT
"""Limit checks."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.limitchecks import check_limits
from tests.unit.doctor.fakes import FakeMachine, an_installation, summary

END = (
    "from 80 % on clients have less time, in the end 10 s for a command and 10 commands without use"
)
MANY = "connections, and {} of all of them are stress"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, [f"ok 10000 at a time; {END}"]),
        ({"max_connections": "0"}, [f"ok as many as files can be open; {END}"]),
        (
            {"stress_percent": "0"},
            ["notice clients have all their time however many there are (stress_percent is 0)"],
        ),
        (
            {"max_connections": "50"},
            [f"ok 50 at a time; {END}", f"notice one client may have 50 {MANY.format(40)}"],
        ),
        (
            {"max_connections": "50", "max_from_ip": "0"},
            [
                f"ok 50 at a time; {END}",
                f"notice one client may have any number of {MANY.format(40)}",
            ],
        ),
        ({"max_connections": "50", "max_from_ip": "39"}, [f"ok 50 at a time; {END}"]),
    ],
)
def test_limits(machine: FakeMachine, settings: dict[str, str], found: list[str]) -> None:
    for name, value in settings.items():
        machine.file(f"/etc/qpsmtpd/{name}", f"{value}\n")
    assert summary(check_limits(an_installation(machine))) == found
