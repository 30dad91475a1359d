# SPDX-License-Identifier: MIT
"""Units: files and drop-ins of systemd."""

from __future__ import annotations

import pytest

from qpsmtpd.doctor.units import SERVICE, SOCKET, Unit, enabled, listen_addresses
from tests.unit.doctor.fakes import FakeSystem

LIB = "/usr/lib/systemd/system"
ETC = "/etc/systemd/system"


def addresses(system: FakeSystem) -> list[str]:
    return list(map(str, listen_addresses(system)))


def test_unit_of_the_package(system: FakeSystem) -> None:
    system.file(f"{LIB}/{SOCKET}", "# x\n[Socket]\nListenStream=25\nListenStream = 127.0.0.2:26\n")
    assert addresses(system) == ["*:25", "127.0.0.2:26"]


def test_drop_in_takes_back(system: FakeSystem) -> None:
    system.file(f"{LIB}/{SOCKET}", "[Socket]\nListenStream=25\n")
    text = "[Socket]\nListenStream=\nListenStream=192.0.2.1:25\nListenStream=[2001:db8::1]:25\n"
    system.file(f"{ETC}/{SOCKET}.d/debconf.conf", text)
    assert addresses(system) == ["192.0.2.1:25", "[2001:db8::1]:25"]


def test_drop_ins_by_name_the_best_directory_first(system: FakeSystem) -> None:
    system.file(f"{LIB}/{SERVICE}", "[Service]\nUser=a\n")
    system.file(f"{LIB}/{SERVICE}.d/20-x.conf", "User=b\n")
    system.file(f"{ETC}/{SERVICE}.d/20-x.conf", "User=c\n")
    system.file(f"{ETC}/{SERVICE}.d/10-x.conf", "User=d\n")
    system.file(f"{ETC}/{SERVICE}.d/README", "User=e\n")
    assert Unit(system, SERVICE).value("User") == "c"
    assert Unit(system, SERVICE).value("Group", "none") == "none"


def test_unit_of_the_administrator_replaces_that_of_the_package(system: FakeSystem) -> None:
    system.file(f"{LIB}/{SOCKET}", "ListenStream=25\n")
    system.file(f"{ETC}/{SOCKET}", "ListenStream=26\n")
    assert addresses(system) == ["*:26"]


def test_drop_in_without_a_unit(system: FakeSystem) -> None:
    system.file(f"{ETC}/{SOCKET}.d/debconf.conf", "ListenStream=25\n")
    assert addresses(system) == []


def test_masked(system: FakeSystem) -> None:
    system.file(f"{LIB}/{SOCKET}", "ListenStream=25\n")
    system.directory(ETC)
    system.path(f"{ETC}/{SOCKET}").symlink_to("/dev/null")
    system.file(f"{ETC}/{SOCKET}.d/debconf.conf", "ListenStream=26\n")
    assert addresses(system) == []


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
def test_streams(system: FakeSystem, text: str, expected: list[str]) -> None:
    system.file(f"{LIB}/{SOCKET}", text)
    assert addresses(system) == expected


def test_options_of_the_service(system: FakeSystem) -> None:
    command = (
        "/usr/bin/qpsmtpd run --listen :25 --listen-tls :465 \\\n --listen=[::1]:587 --listen x"
    )
    system.file(f"{LIB}/{SERVICE}", f"ExecStart={command}\n")
    assert addresses(system) == ["*:25", "*:465", "[::1]:587"]


@pytest.mark.parametrize("unit", [SOCKET, SERVICE])
def test_enabled(system: FakeSystem, unit: str) -> None:
    assert not enabled(system)
    system.file(f"{ETC}/sockets.target.wants/{unit}")
    assert enabled(system)
