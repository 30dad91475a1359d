# SPDX-License-Identifier: MIT
"""Installation: the user, and where the daemon listens."""

from __future__ import annotations

from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.system import Account
from tests.unit.doctor.fakes import FakeSystem, an_installation

UNIT = "/usr/lib/systemd/system/qpsmtpd.service"


def test_user_of_the_package(system: FakeSystem) -> None:
    assert an_installation(system).user == "qpsmtpd"


def test_user_and_groups_of_the_unit(system: FakeSystem) -> None:
    system.file(UNIT, "[Service]\nUser=mail\nSupplementaryGroups=ssl-cert nobody-knows\n")
    system.users = {"mail": Account("mail", 8, frozenset({8}))}
    system.groups["ssl-cert"] = 99
    installation = an_installation(system)
    assert installation.account == Account("mail", 8, frozenset({8, 99}))


def test_no_user(system: FakeSystem) -> None:
    system.users = {}
    assert an_installation(system).account is None


def test_wanted(system: FakeSystem) -> None:
    system.file("/usr/lib/systemd/system/qpsmtpd.socket", "ListenStream=25\n")
    assert list(map(str, an_installation(system).wanted)) == ["*:25"]
    assert list(map(str, an_installation(system, listen=["[::1]:26"]).wanted)) == ["[::1]:26"]


def test_environment(system: FakeSystem) -> None:
    assert "CREDENTIALS_DIRECTORY" not in an_installation(system).environment
    system.directory("/run/credentials/qpsmtpd.service")
    directory = "/run/credentials/qpsmtpd.service"
    assert an_installation(system).environment["CREDENTIALS_DIRECTORY"] == directory


def test_plugins_by_name(system: FakeSystem) -> None:
    installation = an_installation(system, "rcpt_ok\nqueue/maildir:1 /a\nqueue/maildir:2 /b\n")
    assert [line.options.directory for line in installation.plugins("queue/maildir")] == [
        "/a",
        "/b",
    ]


async def test_resolver(system: FakeSystem) -> None:
    system.environment["QPSMTPD_RESOLVER"] = "127.0.0.1:5353"
    installation = Installation(system=system, directories=())
    resolver = installation.resolver()
    assert isinstance(resolver, DnsResolver)
    await resolver.close()
