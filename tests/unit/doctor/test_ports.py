# SPDX-License-Identifier: MIT
"""Ports: whether we can listen where we want to."""

from __future__ import annotations

from qpsmtpd.doctor.ports import check_ports
from tests.unit.doctor.fakes import (
    FakeSystem,
    a_process,
    a_table,
    an_installation,
    commands,
    summary,
)

ENABLED = "/etc/systemd/system/sockets.target.wants/qpsmtpd.socket"


def exim_on(system: FakeSystem, *addresses: str) -> None:
    a_table(system, *(f"{address} {number}" for number, address in enumerate(addresses, 1)))
    a_process(system, 7, "exim4", "/usr/sbin/exim4 -bdf", *range(1, len(addresses) + 1))
    system.file("/usr/sbin/exim4", mode=0o755)
    system.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces=''\n")


def test_free(system: FakeSystem) -> None:
    a_table(system)
    assert summary(check_ports(an_installation(system, listen=[":25"]))) == [
        "notice free, qpsmtpd does not run"
    ]
    system.directory("/run/systemd/system")
    found = list(check_ports(an_installation(system, listen=[":25"])))
    assert commands(found) == ["systemctl start qpsmtpd.socket"]


def test_ours(system: FakeSystem) -> None:
    a_table(system, "127.0.0.2:25 5")
    a_process(system, 9, "qpsmtpd", "/usr/bin/qpsmtpd run", 5)
    assert summary(check_ports(an_installation(system, listen=["127.0.0.2:25"]))) == [
        "ok qpsmtpd (process 9) listens for qpsmtpd"
    ]


def test_exim_has_all_addresses(system: FakeSystem) -> None:
    exim_on(system, "0.0.0.0:25")
    system.file(ENABLED)
    found = list(check_ports(an_installation(system, listen=["127.0.0.2:25"])))
    assert summary(found) == [
        "error Exim (process 7) listens on 0.0.0.0:25, so qpsmtpd cannot listen on 127.0.0.2:25"
    ]
    assert found[0].advice == "See Exim below."


def test_clash_is_a_warning_while_we_are_not_to_start(system: FakeSystem) -> None:
    exim_on(system, "127.0.0.1:25", "[::1]:25")
    (found,) = check_ports(an_installation(system, listen=[":25"]))
    assert found.severity.name == "WARNING"


def test_exim_was_not_restarted(system: FakeSystem) -> None:
    exim_on(system, "0.0.0.0:25")
    system.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces='127.0.0.1'\n")
    (found,) = check_ports(an_installation(system, listen=["127.0.0.2:25"]))
    assert found.commands == ("systemctl restart exim4",)


def test_exim_with_a_configuration_of_its_own(system: FakeSystem) -> None:
    exim_on(system, "0.0.0.0:25")
    system.file("/etc/exim4/exim4.conf")
    (found,) = check_ports(an_installation(system, listen=["127.0.0.2:25"]))
    assert (found.advice, found.commands) == ("See Exim below.", ())


def test_other_program(system: FakeSystem) -> None:
    a_table(system, "0.0.0.0:25 1")
    a_process(system, 7, "smtp-sink", "smtp-sink :25 9", 1)
    (found,) = check_ports(an_installation(system, listen=["127.0.0.2:25"]))
    assert found.commands == ("dpkg-reconfigure qpsmtpd",)


def test_no_clash_on_another_address(system: FakeSystem) -> None:
    exim_on(system, "127.0.0.1:25")
    assert summary(check_ports(an_installation(system, listen=["127.0.0.2:25"]))) == [
        "notice free, qpsmtpd does not run"
    ]


def test_unknown_program(system: FakeSystem) -> None:
    a_table(system, "0.0.0.0:25 1")
    installation = an_installation(system, listen=[":25"])
    system.fake_uid = 1000
    assert summary(check_ports(installation)) == ["notice something listens on 0.0.0.0:25"]
    system.fake_uid = 0
    (found,) = check_ports(installation)
    assert found.commands == ("dpkg-reconfigure qpsmtpd",)
    assert "some program listens" in found.text


def test_systemd_holds_the_socket(system: FakeSystem) -> None:
    a_table(system, "0.0.0.0:25 1")
    a_process(system, 1, "systemd", "/sbin/init", 1)
    installation = an_installation(system, listen=[":25"])
    assert summary(check_ports(installation))[0].startswith("warning systemd (process 1) listens")
    system.command("systemctl is-active qpsmtpd.socket", "active")
    assert summary(check_ports(installation)) == ["ok systemd (process 1) listens for qpsmtpd"]


def test_nothing_says_where(system: FakeSystem) -> None:
    exim_on(system, "127.0.0.1:25", "127.0.0.1:587")
    assert summary(check_ports(an_installation(system))) == [
        "notice no unit of systemd says where qpsmtpd is to listen",
        "notice Exim (process 7) listens here",
    ]


def test_without_the_table(system: FakeSystem) -> None:
    assert summary(check_ports(an_installation(system))) == [
        "notice cannot be read, so who listens is not known"
    ]
