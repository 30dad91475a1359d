# SPDX-License-Identifier: MIT
"""Units: files and drop-ins of systemd."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.units import SERVICE, SOCKET, Unit, enabled, listen_addresses
from tests.unit.doctor.fakes import FakeMachine

LIB = "/usr/lib/systemd/system"
ETC = "/etc/systemd/system"


def addresses(machine: FakeMachine) -> list[str]:
    return list(map(str, listen_addresses(machine)))


def test_unit_of_the_package(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/{SOCKET}", "# x\n[Socket]\nListenStream=25\nListenStream = 127.0.0.2:26\n")
    assert addresses(machine) == ["*:25", "127.0.0.2:26"]


def test_drop_in_takes_back(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/{SOCKET}", "[Socket]\nListenStream=25\n")
    text = "[Socket]\nListenStream=\nListenStream=192.0.2.1:25\nListenStream=[2001:db8::1]:25\n"
    machine.file(f"{ETC}/{SOCKET}.d/debconf.conf", text)
    assert addresses(machine) == ["192.0.2.1:25", "[2001:db8::1]:25"]


def test_drop_ins_by_name_the_best_directory_first(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/{SERVICE}", "[Service]\nUser=a\n")
    machine.file(f"{LIB}/{SERVICE}.d/20-x.conf", "User=b\n")
    machine.file(f"{ETC}/{SERVICE}.d/20-x.conf", "User=c\n")
    machine.file(f"{ETC}/{SERVICE}.d/10-x.conf", "User=d\n")
    machine.file(f"{ETC}/{SERVICE}.d/README", "User=e\n")
    assert Unit(machine, SERVICE).value("User") == "c"
    assert Unit(machine, SERVICE).value("Group", "none") == "none"


def test_unit_of_the_administrator_replaces_that_of_the_package(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/{SOCKET}", "ListenStream=25\n")
    machine.file(f"{ETC}/{SOCKET}", "ListenStream=26\n")
    assert addresses(machine) == ["*:26"]


def test_drop_in_without_a_unit(machine: FakeMachine) -> None:
    machine.file(f"{ETC}/{SOCKET}.d/debconf.conf", "ListenStream=25\n")
    assert addresses(machine) == []


def test_masked(machine: FakeMachine) -> None:
    machine.file(f"{LIB}/{SOCKET}", "ListenStream=25\n")
    machine.directory(ETC)
    machine.path(f"{ETC}/{SOCKET}").symlink_to("/dev/null")
    machine.file(f"{ETC}/{SOCKET}.d/debconf.conf", "ListenStream=26\n")
    assert addresses(machine) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ListenStream=[::]:25\n", ["*:25"]),
        ("BindIPv6Only=ipv6-only\nListenStream=[::]:25\n", ["[::]:25"]),
        ("BindIPv6Only=ipv6-only\nListenStream=25\n", ["[::]:25"]),
        ("ListenStream=0.0.0.0:25\n", ["0.0.0.0:25"]),
        ("ListenStream=/run/qpsmtpd\n", []),
    ],
)
def test_streams(machine: FakeMachine, text: str, expected: list[str]) -> None:
    machine.file(f"{LIB}/{SOCKET}", text)
    assert addresses(machine) == expected


def test_options_of_the_service(machine: FakeMachine) -> None:
    command = (
        "/usr/bin/qpsmtpd run --listen :25 --listen-tls :465 \\\n --listen=[::1]:587 --listen x"
    )
    machine.file(f"{LIB}/{SERVICE}", f"ExecStart={command}\n")
    assert addresses(machine) == ["*:25", "*:465", "[::1]:587"]


@pytest.mark.parametrize("unit", [SOCKET, SERVICE])
def test_enabled(machine: FakeMachine, unit: str) -> None:
    assert not enabled(machine)
    machine.file(f"{ETC}/sockets.target.wants/{unit}")
    assert enabled(machine)
