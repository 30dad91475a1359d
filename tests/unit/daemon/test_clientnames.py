# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/daemon/clientnames.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import clientnames
from qpsmtpd.daemon.clientnames import LIFETIME, ClientNames
from qpsmtpd.testing import FakeClock, FakeResolver, Records, dns_failure

IP = "192.0.2.1"
KNOWN: Records = {("PTR", IP): ["client.example.", "other.example"]}


def a_snapshot(resolver: FakeResolver, *, enabled: bool = True, timeout: float = 10) -> Snapshot:
    """The parts of a snapshot that are looked at."""
    settings = SimpleNamespace(reverse_lookup=enabled, reverse_timeout=timeout)
    services = SimpleNamespace(resolver=resolver)
    return cast("Snapshot", SimpleNamespace(settings=settings, services=services))


def client_names(clock: FakeClock | None = None) -> ClientNames:
    return ClientNames(asyncio.get_running_loop(), (clock or FakeClock()).monotonic)


async def test_the_first_name_without_final_dot() -> None:
    wait = client_names().begin(IP, a_snapshot(FakeResolver(KNOWN)))
    assert await wait() == "client.example"
    assert await wait() == "client.example"


@pytest.mark.parametrize("records", [{}, {("PTR", IP): dns_failure()}])
async def test_no_name(records: Records) -> None:
    wait = client_names().begin(IP, a_snapshot(FakeResolver(records)))
    assert await wait() is None
    assert await wait() is None


async def test_a_silent_name_server_is_not_waited_for() -> None:
    assert (
        await client_names().begin(IP, a_snapshot(FakeResolver(silent=True), timeout=0))() is None
    )


async def test_the_look_up_begins_at_once() -> None:
    resolver = FakeResolver(KNOWN)
    client_names().begin(IP, a_snapshot(resolver))
    await asyncio.sleep(0)
    assert resolver.asked == [("PTR", IP)]


async def test_switched_off() -> None:
    resolver = FakeResolver(KNOWN)
    assert await client_names().begin(IP, a_snapshot(resolver, enabled=False))() is None
    assert resolver.asked == []


async def test_one_look_up_serves_all_connections_of_an_address() -> None:
    resolver, clock = FakeResolver(KNOWN), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    waits = [names.begin(IP, snapshot) for _ in range(3)]
    assert await asyncio.gather(*(wait() for wait in waits)) == ["client.example"] * 3
    clock.advance(LIFETIME - 1)
    await names.begin(IP, snapshot)()
    assert len(resolver.asked) == 1
    await names.begin("192.0.2.2", snapshot)()
    assert len(resolver.asked) == 2


async def test_a_name_is_believed_for_a_while() -> None:
    resolver, clock = FakeResolver(KNOWN), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    await names.begin(IP, snapshot)()
    clock.advance(LIFETIME)
    await names.begin(IP, snapshot)()
    assert len(resolver.asked) == 2


async def test_forget_asks_again() -> None:
    resolver = FakeResolver(KNOWN)
    names, snapshot = client_names(), a_snapshot(resolver)
    await names.begin(IP, snapshot)()
    names.forget()
    await names.begin(IP, snapshot)()
    assert len(resolver.asked) == 2


async def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientnames, "CAPACITY", 2)
    resolver = FakeResolver()
    names, snapshot = client_names(), a_snapshot(resolver)
    for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3", "192.0.2.2", "192.0.2.1"):
        await names.begin(ip, snapshot)()
    assert [ip[-1] for _, ip in resolver.asked] == ["1", "2", "3", "1"]


async def test_who_is_asked_again_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clientnames, "CAPACITY", 3)
    resolver, clock = FakeResolver(), FakeClock()
    names, snapshot = client_names(clock), a_snapshot(resolver)
    for ip in ("192.0.2.1", "192.0.2.2"):
        await names.begin(ip, snapshot)()
    clock.advance(LIFETIME)
    for ip in ("192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.1"):
        await names.begin(ip, snapshot)()
    assert [ip[-1] for _, ip in resolver.asked] == ["1", "2", "1", "3", "4"]


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
    names = client_names()
    before = asyncio.all_tasks()
    wait = names.begin(IP, a_snapshot(FakeResolver(silent=True)))
    (look_up,) = asyncio.all_tasks() - before
    look_up.cancel()
    await asyncio.wait({look_up})
    assert await wait() is None
