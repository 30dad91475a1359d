# SPDX-License-Identifier: MIT
"""Installation: the user, and where the daemon listens."""

from __future__ import annotations

from dataclasses import replace

from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.doctor.examination import Examination
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Account
from tests.unit.doctor.fakes import FakeMachine, an_installation

UNIT = "/usr/lib/systemd/system/qpsmtpd.service"


def test_user_of_the_package(machine: FakeMachine) -> None:
    assert an_installation(machine).user == "qpsmtpd"


def test_user_and_groups_of_the_unit(machine: FakeMachine) -> None:
    machine.file(UNIT, "[Service]\nUser=mail\nSupplementaryGroups=ssl-cert nobody-knows\n")
    machine.users = {"mail": Account("mail", 8, frozenset({8}))}
    machine.groups["ssl-cert"] = 99
    installation = an_installation(machine)
    assert installation.account == Account("mail", 8, frozenset({8, 99}))


def test_no_user(machine: FakeMachine) -> None:
    machine.users = {}
    assert an_installation(machine).account is None


def test_wanted(machine: FakeMachine) -> None:
    machine.file("/usr/lib/systemd/system/qpsmtpd.socket", "ListenStream=25\n")
    assert list(map(str, an_installation(machine).wanted)) == ["*:25"]
    assert list(map(str, an_installation(machine, listen=["[::1]:26"]).wanted)) == ["[::1]:26"]


def test_environment(machine: FakeMachine) -> None:
    assert "CREDENTIALS_DIRECTORY" not in an_installation(machine).environment
    machine.directory("/run/credentials/qpsmtpd.service")
    directory = "/run/credentials/qpsmtpd.service"
    assert an_installation(machine).environment["CREDENTIALS_DIRECTORY"] == directory


def test_entries(machine: FakeMachine) -> None:
    installation = an_installation(machine, "rcpt_ok\n# x\nno_such\n", logging="logging/warn\n")
    assert list(map(str, installation.entries)) == ["logging/warn", "rcpt_ok", "no_such"]


def test_what_plugins_found(machine: FakeMachine) -> None:
    one, two, three = (Finding.ok(name, "x", area=name[:1]) for name in ("a1", "b", "a2"))
    first, second = Examination("x", (), (one, two)), Examination("y", (), (three,))
    installation = replace(an_installation(machine), examined=(first, second))
    assert list(installation.found("a")) == [one, three]
    assert list(installation.found("c")) == []


async def test_resolver(machine: FakeMachine) -> None:
    machine.environment["QPSMTPD_RESOLVER"] = "127.0.0.1:5353"
    installation = Installation(machine=machine, directories=())
    resolver = installation.resolver()
    assert isinstance(resolver, DnsResolver)
    await resolver.close()
