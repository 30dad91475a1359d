# SPDX-License-Identifier: MIT
"""methods.py: a method for each type, and budgets."""

from __future__ import annotations

import asyncio

import pytest

from qpsmtpd.dns.methods import MAX_CONFIRMED, LimitedResolver, ResolverMethods
from qpsmtpd.errors import DnsError, DnsLimitError
from qpsmtpd.plugin.services import DnsAnswer, RecordType, Resolver
from qpsmtpd.testing import FakeResolver, Records, dns_failure

RECORDS: Records = {
    ("A", "a.test"): ["192.0.2.1"],
    ("AAAA", "a.test"): ["2001:db8::1"],
    ("MX", "a.test"): [(10, "mx.a.test")],
    ("TXT", "a.test"): ["v=spf1"],
    ("NS", "a.test"): ["ns.a.test"],
    ("PTR", "1.2.0.192.in-addr.arpa"): ["a.test"],
    ("A", "broken.test"): dns_failure(),
}


class Plain(ResolverMethods):
    """The least that a resolver has to have."""

    def __init__(self) -> None:
        self.fake = FakeResolver(RECORDS)

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        return await self.fake.look_up(kind, name)

    async def exists(self, name: str) -> bool:
        return await self.fake.exists(name)


@pytest.mark.parametrize("limited", [False, True])
async def test_a_method_for_each_type(limited: bool) -> None:
    resolver: Resolver = Plain().limited() if limited else Plain()
    assert await resolver.a("a.test") == ["192.0.2.1"]
    assert await resolver.aaaa("a.test") == ["2001:db8::1"]
    assert await resolver.mx("a.test") == [(10, "mx.a.test")]
    assert await resolver.txt("a.test") == ["v=spf1"]
    assert await resolver.ns("a.test") == ["ns.a.test"]
    assert await resolver.ptr("192.0.2.1") == ["a.test"]
    assert await resolver.ptr("no address") == []
    assert await resolver.exists("a.test")
    assert not await resolver.exists("nowhere.test")
    assert await resolver.look_up("TXT", "broken.test") == DnsAnswer((), True)
    with pytest.raises(DnsError):
        await resolver.a("broken.test")


async def test_names_that_have_an_address() -> None:
    fake = FakeResolver({**RECORDS, ("A", "b.test"): ["192.0.2.2", "192.0.2.1"]})
    assert await fake.confirmed("192.0.2.1", []) == []
    assert await fake.confirmed("192.0.2.1", ["a.test"]) == ["a.test"]
    assert await fake.confirmed("192.0.2.2", ["a.test"]) == []
    assert await fake.confirmed("192.0.2.1", ["x.test", "b.test", "a.test"]) == ["b.test", "a.test"]
    assert await fake.confirmed("2001:DB8::1", ["a.test", "b.test"]) == ["a.test"]
    assert await fake.confirmed("192.0.2.1", ["broken.test", "a.test"]) == ["a.test"]
    for names in (["broken.test"], ["broken.test", "x.test"]):
        with pytest.raises(DnsError, match="SERVFAIL"):
            await fake.confirmed("192.0.2.1", names)
    names = [f"n{number}.test" for number in range(MAX_CONFIRMED)]
    assert await fake.confirmed("192.0.2.1", [*names, "a.test"]) == []


async def test_a_budget_of_questions() -> None:
    fake = FakeResolver(RECORDS)
    resolver = fake.limited(questions=3)
    await resolver.txt("a.test")
    await resolver.exists("a.test")
    with pytest.raises(DnsError, match="SERVFAIL"):
        await resolver.a("broken.test")
    for _ in range(2):
        with pytest.raises(DnsLimitError, match="number"):
            await resolver.txt("a.test")
    assert len(fake.asked) == 3
    assert await fake.txt("a.test") == ["v=spf1"]


async def test_a_budget_of_seconds() -> None:
    resolver = FakeResolver(silent=True).limited(seconds=0.01)
    for _ in range(2):
        with pytest.raises(DnsLimitError, match="too long"):
            await resolver.txt("a.test")


async def test_only_waiting_counts_and_look_ups_at_the_same_time_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    fake = FakeResolver(RECORDS, silent=True)
    resolver = LimitedResolver(fake, 40, 10)
    tasks = [asyncio.create_task(resolver.txt(name)) for name in ("a.test", "b.test")]
    await asyncio.sleep(0)
    now += 6
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    now += 100
    fake.silent = False
    assert await resolver.txt("a.test") == ["v=spf1"]
    assert resolver._seconds == pytest.approx(4)


async def test_who_gives_up_waiting_is_no_longer_counted() -> None:
    resolver = LimitedResolver(FakeResolver(silent=True), 40, 20)
    task = asyncio.create_task(resolver.txt("a.test"))
    await asyncio.sleep(0)
    assert resolver._waiting == 1
    task.cancel()
    await asyncio.wait([task])
    assert resolver._waiting == 0


async def test_a_budget_within_a_budget() -> None:
    whole = FakeResolver(RECORDS).limited(questions=2)
    part = whole.limited(questions=1)
    await part.txt("a.test")
    with pytest.raises(DnsLimitError):
        await part.txt("a.test")
    await whole.txt("a.test")
    with pytest.raises(DnsLimitError):
        await whole.txt("a.test")
