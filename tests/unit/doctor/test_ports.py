# SPDX-License-Identifier: MIT
"""Ports: whether we can listen where we want to."""

from __future__ import annotations

from qpsmtpd.doctor.ports import check_ports
from tests.unit.doctor.fakes import (
    FakeMachine,
    a_process,
    a_table,
    an_installation,
    commands,
    summary,
)

ENABLED = "/etc/systemd/system/sockets.target.wants/qpsmtpd.socket"


def exim_on(machine: FakeMachine, *addresses: str) -> None:
    a_table(machine, *(f"{address} {number}" for number, address in enumerate(addresses, 1)))
    a_process(machine, 7, "exim4", "/usr/sbin/exim4 -bdf", *range(1, len(addresses) + 1))
    machine.file("/usr/sbin/exim4", mode=0o755)
    machine.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces=''\n")


def test_free(machine: FakeMachine) -> None:
    a_table(machine)
    assert summary(check_ports(an_installation(machine, listen=[":25"]))) == [
        "notice is free; qpsmtpd is not running"
    ]
    machine.directory("/run/systemd/system")
    found = list(check_ports(an_installation(machine, listen=[":25"])))
    assert commands(found) == ["systemctl start qpsmtpd.socket"]


def test_ours(machine: FakeMachine) -> None:
    a_table(machine, "127.0.0.2:25 5")
    a_process(machine, 9, "qpsmtpd", "/usr/bin/qpsmtpd run", 5)
    assert summary(check_ports(an_installation(machine, listen=["127.0.0.2:25"]))) == [
        "ok is held for qpsmtpd by qpsmtpd (process 9)"
    ]


def test_exim_has_all_addresses(machine: FakeMachine) -> None:
    exim_on(machine, "0.0.0.0:25")
    machine.file(ENABLED)
    found = list(check_ports(an_installation(machine, listen=["127.0.0.2:25"])))
    assert summary(found) == [
        "error Exim (process 7) listens on 0.0.0.0:25, so qpsmtpd cannot listen on 127.0.0.2:25"
    ]
    assert found[0].advice == "See Exim below."


def test_clash_is_a_warning_while_we_are_not_to_start(machine: FakeMachine) -> None:
    exim_on(machine, "127.0.0.1:25", "[::1]:25")
    (found,) = check_ports(an_installation(machine, listen=[":25"]))
    assert found.severity.name == "WARNING"


def test_exim_was_not_restarted(machine: FakeMachine) -> None:
    exim_on(machine, "0.0.0.0:25")
    machine.file("/etc/exim4/update-exim4.conf.conf", "dc_local_interfaces='127.0.0.1'\n")
    (found,) = check_ports(an_installation(machine, listen=["127.0.0.2:25"]))
    assert found.commands == ("systemctl restart exim4",)


def test_exim_with_a_configuration_of_its_own(machine: FakeMachine) -> None:
    exim_on(machine, "0.0.0.0:25")
    machine.file("/etc/exim4/exim4.conf")
    (found,) = check_ports(an_installation(machine, listen=["127.0.0.2:25"]))
    assert (found.advice, found.commands) == ("See Exim below.", ())


def test_postfix_with_a_client(machine: FakeMachine) -> None:
    """Its daemons have the socket of their master, and are found before it."""
    a_table(machine, "0.0.0.0:25 1")
    a_process(machine, 12, "smtpd", "smtpd -n smtp -t inet -u -c -o stress=", 1)
    a_process(machine, 7, "master", "/usr/lib/postfix/sbin/master -w", 1)
    (found,) = check_ports(an_installation(machine, listen=["127.0.0.2:25"]))
    assert found.text.startswith("Postfix (process ")
    assert found.commands == ("systemctl restart postfix",)


def test_other_program(machine: FakeMachine) -> None:
    a_table(machine, "0.0.0.0:25 1")
    a_process(machine, 7, "smtp-sink", "smtp-sink :25 9", 1)
    (found,) = check_ports(an_installation(machine, listen=["127.0.0.2:25"]))
    assert found.commands == ("dpkg-reconfigure qpsmtpd",)


def test_no_clash_on_another_address(machine: FakeMachine) -> None:
    exim_on(machine, "127.0.0.1:25")
    assert summary(check_ports(an_installation(machine, listen=["127.0.0.2:25"]))) == [
        "notice is free; qpsmtpd is not running"
    ]


def test_unknown_program(machine: FakeMachine) -> None:
    a_table(machine, "0.0.0.0:25 1")
    installation = an_installation(machine, listen=[":25"])
    machine.fake_uid = 1000
    assert summary(check_ports(installation)) == ["notice something listens on 0.0.0.0:25"]
    machine.fake_uid = 0
    (found,) = check_ports(installation)
    assert found.commands == ("dpkg-reconfigure qpsmtpd",)
    assert "some program listens" in found.text


def test_systemd_holds_the_socket(machine: FakeMachine) -> None:
    a_table(machine, "0.0.0.0:25 1")
    a_process(machine, 1, "systemd", "/sbin/init", 1)
    installation = an_installation(machine, listen=[":25"])
    assert summary(check_ports(installation))[0].startswith("warning systemd (process 1) listens")
    machine.command("systemctl is-active qpsmtpd.socket", "active")
    assert summary(check_ports(installation)) == ["ok is held for qpsmtpd by systemd (process 1)"]


def test_nothing_says_where(machine: FakeMachine) -> None:
    exim_on(machine, "127.0.0.1:25", "127.0.0.1:587")
    assert summary(check_ports(an_installation(machine))) == [
        "notice no systemd unit says where qpsmtpd is to listen",
        "notice Exim (process 7) listens here",
    ]


def test_without_the_table(machine: FakeMachine) -> None:
    assert summary(check_ports(an_installation(machine))) == [
        "notice cannot be read, so it is not known who listens"
    ]
