# SPDX-License-Identifier: MIT
"""DNS checks: name servers, our name, and the self-tests of lists."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.doctor import dnschecks
from qpsmtpd.doctor.dnschecks import check_dns
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.errors import DnsError
from qpsmtpd.testing import FakeResolver
from tests.unit.doctor.fakes import FakeMachine, an_installation, examined, summary

ME = "mx.example.org"
WORLD: dict[tuple[str, str], Any] = {
    ("A", "a.root-servers.net"): ["198.41.0.4"],
    ("A", ME): ["192.0.2.1"],
    ("PTR", "192.0.2.1"): [ME],
}
CHAIN = "dnsbl\nrhsbl\nrcpt_ok\nqueue/discard\n"


def check(machine: FakeMachine, records: dict[tuple[str, str], Any], **files: str) -> list[str]:
    """What is found, after what is said of the name servers and of our name."""
    installation = an_installation(machine, CHAIN, records=WORLD | records, **files)
    found = summary(check_dns(examined(installation)))
    assert found[:2] == ["ok answer", "ok leads to 192.0.2.1"]
    return found[2:]


def test_name_servers_fail(machine: FakeMachine) -> None:
    installation = an_installation(machine)
    resolver = FakeResolver({("A", "a.root-servers.net"): DnsError("SERVFAIL")})
    assert failing(installation, resolver) == ["warning nobody answers (SERVFAIL)"]


def failing(installation: Installation, resolver: FakeResolver) -> list[str]:
    made = Installation(
        machine=installation.machine,
        directories=installation.directories,
        make_resolver=lambda: resolver,
    )
    return summary(check_dns(examined(made)))


def test_name_servers_are_silent(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnschecks, "TIMEOUT", 0.01)
    found = failing(an_installation(machine), FakeResolver(silent=True))
    assert found == ["warning nobody answers (no answer in time)"]


def test_no_public_dns(machine: FakeMachine) -> None:
    (found,) = summary(check_dns(an_installation(machine)))
    assert found.startswith("notice say that a.root-servers.net does not exist")


@pytest.mark.parametrize("me", ["mx", "localhost.localdomain"])
def test_a_short_name(machine: FakeMachine, me: str) -> None:
    found = summary(check_dns(an_installation(machine, CHAIN, records=WORLD, me=me)))
    assert found[0] == "ok answer"
    assert found[1].startswith("warning is not a full name")
    nobody = summary(check_dns(an_installation(machine, CHAIN, me=me)))
    assert nobody[1:] == found[1:2]


def test_bad_name_server(machine: FakeMachine) -> None:
    machine.environment["QPSMTPD_RESOLVER"] = "nonsense"
    installation = an_installation(machine)
    made = Installation(machine=machine, directories=installation.directories)
    (found,) = summary(check_dns(made))
    assert found.startswith("error ")


def test_real_resolver_is_closed(machine: FakeMachine, nowhere: str) -> None:
    """Nobody listens there; what is left open would be a warning, which is an error here."""
    installation = an_installation(machine)
    made = Installation(machine=machine, directories=installation.directories)
    machine.environment["QPSMTPD_RESOLVER"] = nowhere
    (found,) = summary(check_dns(made))
    assert found.startswith("warning nobody answers")


@pytest.mark.parametrize(
    "records, expected",
    [
        ({("A", ME): []}, "notice has no address in the DNS"),
        (
            {("A", ME): ["8.8.4.4"]},
            "notice the reverse lookup of 8.8.4.4 does not lead back to it",
        ),
        ({("A", ME): ["8.8.4.4"], ("PTR", "8.8.4.4"): ["MX.example.org."]}, "ok leads to 8.8.4.4"),
        ({("A", ME): ["127.0.1.1"]}, "ok leads to 127.0.1.1"),
    ],
)
def test_our_name(machine: FakeMachine, records: dict[Any, Any], expected: str) -> None:
    found = summary(check_dns(an_installation(machine, records=WORLD | records)))
    assert found[1] == expected


def test_our_name_fails(machine: FakeMachine) -> None:
    resolver = FakeResolver({**WORLD, ("AAAA", ME): DnsError("SERVFAIL")})
    assert failing(an_installation(machine), resolver)[1] == "warning SERVFAIL"


BAD = "2.0.0.127.bl.example"
GOOD = "1.0.0.127.bl.example"


@pytest.mark.parametrize(
    "records, expected",
    [
        ({("A", BAD): ["127.0.0.2"]}, "ok lists its test entry, and not everybody"),
        (
            {("A", BAD): ["127.0.0.2"], ("A", GOOD): ["127.0.0.2"]},
            "error lists everybody (RFC 5782 section 5)",
        ),
        ({}, "warning does not list its test entry (RFC 5782 section 5): it may be closed"),
        (
            {("A", BAD): ["127.255.255.254"], ("A", GOOD): ["127.255.255.254"]},
            "warning refuses our questions: it answers 127.255.255.254",
        ),
    ],
)
def test_list_of_clients(machine: FakeMachine, records: dict[Any, Any], expected: str) -> None:
    found = check(machine, records, dnsbl_zones="bl.example:see %IP%\n")
    assert found == [expected, "notice names no list, so nothing is looked up or refused"]


def test_list_of_domains(machine: FakeMachine) -> None:
    records = {("A", "test.dbl.example"): ["127.0.1.2"]}
    files = {"rhsbl_zones": "dbl.example bad sender\n"}
    assert check(machine, records, **files)[1].startswith("ok")
    assert check(machine, {}, **files)[1].startswith("notice does not list its test entry")
    records[("A", "invalid.dbl.example")] = ["127.0.1.2"]
    assert check(machine, records, **files)[1].startswith("error lists everybody")


def test_list_that_fails(machine: FakeMachine) -> None:
    installation = an_installation(machine, CHAIN, dnsbl_zones="bl.example\n")
    resolver = FakeResolver({**WORLD, ("A", GOOD): DnsError("SERVFAIL")})
    assert failing(installation, resolver)[2] == "warning does not answer: SERVFAIL"


def test_lists_are_asked_only_when_in_use(machine: FakeMachine) -> None:
    installation = an_installation(machine, records=WORLD, dnsbl_zones="bl.example\n")
    assert len(check_dns(examined(installation))) == 2
