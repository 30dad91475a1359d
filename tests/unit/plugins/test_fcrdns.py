# SPDX-License-Identifier: MIT
"""fcrdns: what names of clients are worth."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.api import Session, Verdict, defer, deny
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import ReverseNames
from qpsmtpd.plugins.fcrdns import Fcrdns, is_qualified
from qpsmtpd.testing import (
    FakeResolver,
    a_plugin,
    a_session,
    dns_failure,
)

IP = "192.0.2.9"
NAME = "mx.client.example"

NAMELESS = "Your IP address has no name in the DNS"
NOT_LOCALHOST = "You are not localhost"
UNQUALIFIED = "The name of your IP address is not fully qualified"
LOST = "The name of your IP address has no address"


def session_of(names: ReverseNames | None, ip: str = IP) -> Session:
    """A session about whose client the core has found this; None if it was not to ask."""

    async def lookup() -> ReverseNames:
        return names or ReverseNames(asked=False)

    return Session(Endpoint(ip, 40000), Endpoint("198.51.100.25", 25), reverse_lookup=lookup)


async def judged(
    line: str, names: ReverseNames | None, dns: Any = None, ip: str = IP
) -> tuple[Verdict | None, int, Session]:
    """The verdict, and the karma."""
    plugin = await a_plugin(Fcrdns, line, dns=dns)
    session = session_of(names, ip)
    return await plugin.hook_connect(session), session.karma, session


def records(*names: str, **addresses: list[str]) -> Any:
    """The names of the client, and the addresses of the first one."""
    return {("PTR", IP): list(names)} | {
        (kind.upper(), names[0]): found for kind, found in addresses.items()
    }


CASES = [
    (ReverseNames(NAME, NAME), {}, "", 1),
    (ReverseNames(None, None), {}, NAMELESS, -1),
    (ReverseNames(None, "localhost"), {}, NOT_LOCALHOST, -1),
    (ReverseNames(None, "LocalHost."), {}, NOT_LOCALHOST, -1),
    (ReverseNames(None, "boogers"), {}, UNQUALIFIED, -1),
    (ReverseNames("boogers", "boogers"), {}, UNQUALIFIED, -1),
    (ReverseNames(None, NAME), records(NAME), LOST, -1),
    (ReverseNames(None, NAME), records(NAME, a=["203.0.113.5"]), "", 0),
    (ReverseNames(None, NAME), records(NAME, aaaa=["2001:db8::1"]), "", 0),
    (ReverseNames(None, NAME, certain=False), {}, "", 0),
    (ReverseNames(None, None, certain=False), {}, "", 0),
    (ReverseNames(None, NAME), {("PTR", IP): dns_failure()}, "", 0),
    (ReverseNames(None, NAME), records(NAME) | {("A", NAME): dns_failure()}, "", 0),
    # The core was not to ask.
    (None, records(NAME, a=[IP]), "", 1),
    (None, records(NAME, a=["203.0.113.5"]), "", 0),
    (None, records(NAME), LOST, -1),
    (None, {}, NAMELESS, -1),
    (None, {("PTR", IP): dns_failure()}, "", 0),
]


@pytest.mark.parametrize(("names", "dns", "problem", "karma"), CASES)
async def test_names(names: ReverseNames | None, dns: Any, problem: str, karma: int) -> None:
    verdict, points, session = await judged("reject 1", names, dns)
    assert verdict == (defer(problem, status="4.7.25") if problem else None)
    assert points == karma
    failed = any(isinstance(found, Exception) for found in dns.values())
    assert session.iprev == names.iprev if names else (session.iprev == "temperror") is failed


@pytest.mark.parametrize(("names", "dns", "problem", "karma"), CASES)
async def test_by_default_nobody_is_refused(
    names: ReverseNames | None, dns: Any, problem: str, karma: int
) -> None:
    verdict, points, session = await judged("", names, dns)
    assert verdict is None
    assert points == karma
    assert not session.deferred_rejects


async def test_naughty() -> None:
    line = "has_reverse_dns has_forward_dns reject naughty"
    verdict, _, session = await judged(line, ReverseNames(None, None))
    assert verdict is None
    assert session.deferred_rejects == [NAMELESS]


async def test_the_type_of_rejection() -> None:
    verdict, _, _ = await judged("reject 1 reject_type disconnect", ReverseNames(None, None))
    assert verdict == deny(NAMELESS, status="5.7.25", disconnect=True)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.1.1.1", "127.255.255.255", "::1"])
async def test_this_machine(ip: str) -> None:
    verdict, karma, _ = await judged("reject 1", ReverseNames(None, "localhost"), ip=ip)
    assert (verdict, karma) == (None, 1)


@pytest.mark.parametrize("ip", ["128.0.0.1", "126.1.1.1", "2001:db8::1"])
async def test_who_claims_to_be_this_machine(ip: str) -> None:
    verdict, karma, _ = await judged("reject 1", ReverseNames(None, "localhost"), ip=ip)
    assert (verdict, karma) == (defer(NOT_LOCALHOST, status="4.7.25"), -1)


async def test_exempt_clients() -> None:
    plugin = await a_plugin(Fcrdns, "reject 1")
    session = a_session(IP, relay_client=True)
    assert await plugin.hook_connect(session) is None
    assert session.karma == 0


async def test_silence_is_not_held_against_anybody() -> None:
    dns = FakeResolver(silent=True)
    verdict, karma, _ = await judged("reject 1 timeout 0.01", None, dns)
    assert (verdict, karma) == (None, 0)


@pytest.mark.parametrize("name", ["foo.com", "example.com", "example.com."])
def test_qualified(name: str) -> None:
    assert is_qualified(name)


@pytest.mark.parametrize("name", ["com", "net", "edu", "boogers", "com.", ""])
def test_not_qualified(name: str) -> None:
    assert not is_qualified(name)
