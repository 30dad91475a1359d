# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/daemon/clientnames.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import pytest

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import clientnames
from qpsmtpd.daemon.clientnames import LIFETIME, RETRY, ClientNames
from qpsmtpd.dns.methods import MAX_CONFIRMED
from qpsmtpd.dns.names import reverse_name
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.mail.session import ReverseNames
from qpsmtpd.plugin.services import DnsAnswer, Resolver
from qpsmtpd.testing import FakeClock, FakeResolver, Records, dns_failure
from tests.dns_server import DnsServer

IP = "192.0.2.1"
KNOWN: Records = {
    ("PTR", IP): ["client.example", "other.example"],
    ("A", "client.example"): ["192.0.2.7", IP],
    ("A", "other.example"): [IP],
}
CLIENT = ReverseNames("client.example", "client.example")
NONE = ReverseNames()
UNKNOWN = ReverseNames(certain=False)


def a_snapshot(resolver: Resolver, *, enabled: bool = True, timeout: float = 10) -> Snapshot:
    """The parts of a snapshot that are looked at."""
    settings = SimpleNamespace(reverse_lookup=enabled, reverse_timeout=timeout)
    services = SimpleNamespace(resolver=resolver)
    return cast("Snapshot", SimpleNamespace(settings=settings, services=services))


def client_names(clock: FakeClock | None = None) -> ClientNames:
    return ClientNames(asyncio.get_running_loop(), (clock or FakeClock()).monotonic)


async def names_in(records: Records, ip: str = IP) -> ReverseNames:
    return await client_names().begin(ip, a_snapshot(FakeResolver(records)))()


async def names_by_dns(records: Records, ip: str = IP) -> ReverseNames:
    """The same with the resolver that asks name servers, which needs no task."""
    async with DnsServer(records) as server:
        resolver = DnsResolver([server.address])
        wait = client_names().begin(ip, a_snapshot(resolver))
        names = await wait()
        assert await wait() == names
        assert await client_names().begin(ip, a_snapshot(resolver))() == names
        await resolver.close()
    return names


Names = Callable[..., Awaitable[ReverseNames]]
in_both_ways = pytest.mark.parametrize("names_of", [names_in, names_by_dns])


# --- which name it is -------------------------------------------------------------------------


async def test_the_first_name_that_has_the_address() -> None:
    wait = client_names().begin(IP, a_snapshot(FakeResolver(KNOWN)))
    assert await wait() == CLIENT
    assert await wait() == CLIENT


@pytest.mark.parametrize(
    "addresses", [{}, {("A", "bank.example"): ["192.0.2.2"]}, {("AAAA", "bank.example"): ["::1"]}]
)
@in_both_ways
async def test_a_name_without_the_address_is_only_claimed(
    addresses: Records, names_of: Names
) -> None:
    names = await names_of({("PTR", IP): ["bank.example"], **addresses})
    assert names == ReverseNames(None, "bank.example")


@in_both_ways
async def test_one_of_several_names_is_enough(names_of: Names) -> None:
    names = await names_of({**KNOWN, ("PTR", IP): ["bank.example", "other.example"]})
    assert names == ReverseNames("other.example", "bank.example")


@pytest.mark.parametrize("address", ["2001:db8::1", "2001:DB8:0::0001"])
@in_both_ways
async def test_ipv6(address: str, names_of: Names) -> None:
    ip = "2001:db8::1"
    names = await names_of({("PTR", ip): ["six.example"], ("AAAA", "six.example"): [address]}, ip)
    assert names.confirmed == "six.example"


@in_both_ways
async def test_no_name(names_of: Names) -> None:
    assert await names_of({}) == NONE


@in_both_ways
async def test_nobody_knows(names_of: Names) -> None:
    assert await names_of({("PTR", IP): dns_failure()}) == UNKNOWN


@pytest.mark.parametrize("others", [[], ["other.example"]])
@in_both_ways
async def test_nobody_knows_whether_it_is_confirmed(others: list[str], names_of: Names) -> None:
    records: Records = {
        ("PTR", IP): ["client.example", *others],
        ("A", "client.example"): dns_failure(),
    }
    assert await names_of(records) == ReverseNames(None, "client.example", certain=False)


@in_both_ways
async def test_a_confirmed_name_is_certain_whatever_fails_besides(names_of: Names) -> None:
    records: Records = {**KNOWN, ("A", "client.example"): dns_failure()}
    assert await names_of(records) == ReverseNames("other.example", "client.example")


@pytest.mark.parametrize(
    "name",
    ["", ".", "a b.example", "a..example", r"a\.b.example", "a\nb", "ä.example", "[192.0.2.1]"],
)
async def test_what_is_not_a_host_name_is_no_name(name: str) -> None:
    assert await names_in({("PTR", IP): [name], ("A", name): [IP]}) == NONE


async def test_few_names_are_confirmed_all_at_once() -> None:
    names = [f"n{number:03}.example" for number in range(100)]
    resolver = FakeResolver({("PTR", IP): names, **{("A", name): [IP] for name in names[90:]}})
    wait = client_names().begin(IP, a_snapshot(resolver))
    assert await wait() == ReverseNames(None, "n000.example")
    assert resolver.asked[1:] == [("A", name) for name in names[:MAX_CONFIRMED]]


# --- when it is looked up ---------------------------------------------------------------------


async def test_a_silent_name_server_is_not_waited_for() -> None:
    snapshot = a_snapshot(FakeResolver(silent=True), timeout=0)
    assert await client_names().begin(IP, snapshot)() == UNKNOWN


async def test_the_time_is_for_all_look_ups_together() -> None:
    class SilentAboutNames(FakeResolver):
        async def ptr(self, ip: str) -> list[str]:
            self.silent = False
            names = await super().ptr(ip)
            self.silent = True
            return names

    resolver = SilentAboutNames(KNOWN)
    wait = client_names().begin(IP, a_snapshot(resolver, timeout=0.01))
    assert await wait() == UNKNOWN
    assert len(resolver.asked) == 3


async def test_the_look_up_begins_at_once() -> None:
    resolver = FakeResolver(KNOWN)
    client_names().begin(IP, a_snapshot(resolver))
    await asyncio.sleep(0)
    assert resolver.asked == [("PTR", IP)]


async def test_switched_off() -> None:
    resolver = FakeResolver(KNOWN)
    assert await client_names().begin(IP, a_snapshot(resolver, enabled=False))() == ReverseNames(
        asked=False
    )
    assert resolver.asked == []


# --- what is remembered -----------------------------------------------------------------------


def reverse_look_ups(resolver: FakeResolver) -> list[str]:
    """The last digits of the addresses that were asked about."""
    return [ip[-1] for kind, ip in resolver.asked if kind == "PTR"]


async def test_one_look_up_serves_all_connections_of_an_address() -> None:
    resolver, clock = FakeResolver(KNOWN), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    waits = [names.begin(IP, snapshot) for _ in range(3)]
    assert await asyncio.gather(*(wait() for wait in waits)) == [CLIENT] * 3
    clock.advance(LIFETIME - 1)
    await names.begin(IP, snapshot)()
    assert reverse_look_ups(resolver) == ["1"]
    await names.begin("192.0.2.2", snapshot)()
    assert reverse_look_ups(resolver) == ["1", "2"]


@pytest.mark.parametrize(
    ("records", "seconds"),
    [(KNOWN, LIFETIME), ({}, LIFETIME), ({("PTR", IP): dns_failure()}, RETRY)],
)
async def test_how_long_an_answer_is_believed(records: Records, seconds: float) -> None:
    resolver, clock = FakeResolver(records), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    await names.begin(IP, snapshot)()
    clock.advance(seconds - 1)
    await names.begin(IP, snapshot)()
    assert reverse_look_ups(resolver) == ["1"]
    clock.advance(1)
    await names.begin(IP, snapshot)()
    assert reverse_look_ups(resolver) == ["1", "1"]


async def test_forget_asks_again() -> None:
    resolver = FakeResolver(KNOWN)
    names, snapshot = client_names(), a_snapshot(resolver)
    await names.begin(IP, snapshot)()
    names.forget()
    await names.begin(IP, snapshot)()
    assert reverse_look_ups(resolver) == ["1", "1"]


async def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientnames, "CAPACITY", 2)
    resolver = FakeResolver()
    names, snapshot = client_names(), a_snapshot(resolver)
    for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3", "192.0.2.2", "192.0.2.1"):
        await names.begin(ip, snapshot)()
    assert reverse_look_ups(resolver) == ["1", "2", "3", "1"]


async def test_who_is_asked_again_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientnames, "CAPACITY", 3)
    resolver, clock = FakeResolver(), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    for ip in ("192.0.2.1", "192.0.2.2"):
        await names.begin(ip, snapshot)()
    clock.advance(LIFETIME)
    for ip in ("192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.1"):
        await names.begin(ip, snapshot)()
    assert reverse_look_ups(resolver) == ["1", "2", "1", "3", "4"]


async def test_a_client_that_leaves_does_not_take_the_look_up_along() -> None:
    resolver = FakeResolver(silent=True)
    names, snapshot = client_names(), a_snapshot(resolver)
    first, second = (asyncio.ensure_future(names.begin(IP, snapshot)()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert not second.done()
    second.cancel()
    await asyncio.wait({second})


async def test_a_cancelled_look_up_is_no_name() -> None:
    clock = FakeClock()
    names = client_names(clock)
    before = asyncio.all_tasks()
    snapshot = a_snapshot(FakeResolver(silent=True))
    wait = names.begin(IP, snapshot)
    (look_up,) = asyncio.all_tasks() - before
    look_up.cancel()
    await asyncio.wait({look_up})
    assert await wait() == UNKNOWN
    clock.advance(RETRY)
    again = names.begin(IP, a_snapshot(FakeResolver(KNOWN)))
    assert await again() == CLIENT


class BrokenResolver(FakeResolver):
    async def ptr(self, ip: str) -> list[str]:
        raise RuntimeError(ip)


async def test_a_fault_is_told_to_all_who_wait() -> None:
    """It must not pass for a client without a name."""
    names, snapshot = client_names(), a_snapshot(BrokenResolver())
    for _ in range(2):
        with pytest.raises(RuntimeError, match=IP):
            await names.begin(IP, snapshot)()


async def test_a_look_up_is_no_task() -> None:
    async with DnsServer({**KNOWN, ("PTR", IP): ["other.example"]}) as server:
        resolver = DnsResolver([server.address])
        wait = client_names().begin(IP, a_snapshot(resolver))
        while len(server.asked) < 2:
            server.was_asked.clear()
            await server.was_asked.wait()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await wait() == ReverseNames("other.example", "other.example")
        await resolver.close()


async def test_what_is_remembered_here_is_not_remembered_by_the_resolver() -> None:
    async with DnsServer({**KNOWN, ("PTR", IP): ["other.example"]}) as server:
        resolver = DnsResolver([server.address])
        await client_names().begin(IP, a_snapshot(resolver))()
        assert resolver.recall("PTR", reverse_name(IP) or "") is None
        assert resolver.recall("A", "other.example") == DnsAnswer((IP,), True)
        await resolver.close()


# --- in Authentication-Results ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "iprev"),
    [
        (CLIENT, "pass"),
        (ReverseNames("other.example", "bank.example"), "pass"),
        (ReverseNames(None, "bank.example"), "fail"),
        (NONE, "permerror"),
        (UNKNOWN, "temperror"),
        (ReverseNames(None, "bank.example", certain=False), "temperror"),
        (ReverseNames(asked=False), ""),
    ],
)
def test_whether_address_and_name_agree(names: ReverseNames, iprev: str) -> None:
    """RFC 8601 section 2.7.3."""
    assert names.iprev == iprev
