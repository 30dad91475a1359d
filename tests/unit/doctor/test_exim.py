# SPDX-License-Identifier: MIT
"""Exim: what its Debian configuration says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.exim import OWN_FILE, PROGRAM, SETTINGS, Exim, options_of, parse_interfaces
from tests.unit.doctor.fakes import FakeSystem


def an_exim(system: FakeSystem, settings: str = "") -> Exim:
    system.file(PROGRAM, mode=0o755)
    system.file(SETTINGS, settings)
    exim = Exim.read(system)
    assert exim
    return exim


def test_none(system: FakeSystem) -> None:
    system.file(SETTINGS, "dc_local_interfaces=''\n")
    assert Exim.read(system) is None


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
def test_addresses(system: FakeSystem, text: str, expected: list[str]) -> None:
    assert list(map(str, an_exim(system, f"# x\n{text}\n").addresses)) == expected


@given(st.text())
def test_any_interfaces(text: str) -> None:
    for address in parse_interfaces(text):
        assert address.host


def test_to_loopback(system: FakeSystem) -> None:
    assert an_exim(system).to_loopback == (
        "sed -i \"s/^dc_local_interfaces=.*/dc_local_interfaces='127.0.0.1 ; ::1'/\" "
        "/etc/exim4/update-exim4.conf.conf",
        "update-exim4.conf",
        "systemctl restart exim4",
    )


def test_on_loopback_already(system: FakeSystem) -> None:
    assert an_exim(system, "dc_local_interfaces='127.0.0.1 ; ::1'\n").to_loopback == ()


def test_own_configuration(system: FakeSystem) -> None:
    system.file(OWN_FILE)
    exim = an_exim(system, "dc_local_interfaces='127.0.0.1'\n")
    assert (exim.addresses, exim.own) == ([], True)
    assert "local_interfaces = <; 127.0.0.1 ; ::1" in exim.to_loopback[0]
    assert "trusted_users = a : b" in exim.to_trust(system, "b", ["a"])[0]
    assert OWN_FILE in exim.form


def test_to_trust(system: FakeSystem) -> None:
    plain = an_exim(system, "dc_use_split_config='false'\n")
    assert plain.to_trust(system, "qpsmtpd", ["uucp"]) == (
        "echo 'MAIN_TRUSTED_USERS = uucp : qpsmtpd' >> /etc/exim4/exim4.conf.localmacros",
        "update-exim4.conf",
    )
    split = an_exim(system, "dc_use_split_config='true'\n")
    assert split.to_trust(system, "qpsmtpd", ["uucp"])[0].endswith(
        ">> /etc/exim4/conf.d/main/000_localmacros"
    )
    assert (plain.form, split.form) == ("configuration in one file", "split configuration conf.d")


def test_to_trust_when_the_macro_is_there(system: FakeSystem) -> None:
    """Exim refuses a macro that is defined twice."""
    system.file("/etc/exim4/exim4.conf.localmacros", "MAIN_TRUSTED_USERS = uucp\n")
    assert an_exim(system).to_trust(system, "qpsmtpd", ["uucp"])[0] == (
        "sed -i 's/^ *MAIN_TRUSTED_USERS *=.*/MAIN_TRUSTED_USERS = uucp : qpsmtpd/' "
        "/etc/exim4/exim4.conf.localmacros"
    )


def test_options(system: FakeSystem) -> None:
    assert options_of(system, PROGRAM, "a") is None
    system.command(f"{PROGRAM} -bP a b c", "a = uucp : x\nb\nno_c")
    assert options_of(system, PROGRAM, "a", "b", "c") == {"a": "uucp : x", "b": ""}
    system.command(f"{PROGRAM} -bP d", "", 1)
    assert options_of(system, PROGRAM, "d") is None
