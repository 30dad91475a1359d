# SPDX-License-Identifier: MIT
"""resolver.py: DnsResolver against name servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from qpsmtpd.dns import resolver as resolver_module
from qpsmtpd.dns.answers import FAILURE_TTL
from qpsmtpd.dns.lookup import Patience
from qpsmtpd.dns.nameserver import AVOID_SECONDS
from qpsmtpd.dns.resolvconf import INTERVAL
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.errors import DnsError, DnsLimitError
from qpsmtpd.plugin.services import DnsAnswer, Resolver
from qpsmtpd.testing import FakeClock, Records, dns_failure
from tests.dns_server import DnsServer, dead_dns_server
from tests.dns_wire import Record, an_answer, label, pointer
from tests.work import counted_lines

LONG = "v=spf1 " + "x" * 600


@asynccontextmanager
async def a_resolver(server: DnsServer, **arguments: Any) -> AsyncIterator[DnsResolver]:
    resolver = DnsResolver([server.address], **arguments)
    try:
        yield resolver
    finally:
        await resolver.close()


def questions(server: DnsServer) -> list[str]:
    """The names that a server was asked about, but for easy questions."""
    return [name for _, name, _ in server.asked if name != "."]


async def let_try_expire(resolver: DnsResolver, server: DnsServer, *, asked: int = 1) -> None:
    """When the server was asked so often in all, let the time for its answer be over."""
    async with asyncio.timeout(10):
        while len(questions(server)) < asked:
            server.was_asked.clear()
            await server.was_asked.wait()
    for lookup in resolver._asking.values():
        lookup.deadline = 0.0
    assert resolver._timer is not None
    resolver._timer.cancel()
    resolver._give_up_tries()


RECORDS: Records = {
    ("A", "a.test"): ["192.0.2.2", "192.0.2.1"],
    ("AAAA", "a.test"): ["2001:db8::1"],
    ("MX", "a.test"): [(20, "b.test"), (10, "MX.other")],
    ("MX", "null.test"): [(0, "")],
    ("TXT", "a.test"): [LONG],
    ("NS", "a.test"): ["ns.a.test"],
    ("CNAME", "alias.test"): ["a.test"],
    ("PTR", "192.0.2.1"): ["host.test"],
    ("PTR", "2001:db8::1"): ["host6.test"],
    ("A", "broken.test"): dns_failure(),
}


async def test_every_kind_of_record() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        asks: Resolver = resolver
        assert await asks.a("a.test") == ["192.0.2.1", "192.0.2.2"]
        assert await asks.aaaa("a.test") == ["2001:db8::1"]
        assert await asks.mx("a.test") == [(10, "MX.other"), (20, "b.test")]
        assert await asks.mx("null.test") == [(0, "")]
        assert await asks.txt("a.test") == [LONG]
        assert await asks.ns("a.test") == ["ns.a.test"]
        assert await asks.ptr("192.0.2.1") == ["host.test"]
        assert await asks.ptr("2001:db8::1") == ["host6.test"]
        assert await asks.a("ALIAS.test.") == ["192.0.2.1", "192.0.2.2"]


async def test_nxdomain_no_data_and_no_address_are_empty() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        assert await resolver.a("nowhere.test") == []
        assert await resolver.txt("null.test") == []
        assert await resolver.ptr("no address") == []


async def test_what_cannot_be_asked_is_empty_and_not_asked() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        for name in ("", "a..test", "x" * 64 + ".test", "\udcff.test"):
            assert await resolver.a(name) == []
        assert server.asked == []


async def test_a_failing_server_is_an_error_and_asked_again_seconds_later() -> None:
    clock = FakeClock()
    async with DnsServer(RECORDS) as server, a_resolver(server, clock=clock) as resolver:
        for _ in range(2):
            with pytest.raises(DnsError, match=r"A 'broken\.test': 127.*SERVFAIL"):
                await resolver.a("broken.test")
        assert len(server.asked) == 1
        server.records["A", "broken.test"] = ["192.0.2.7"]
        clock.advance(FAILURE_TTL)
        assert await resolver.a("broken.test") == ["192.0.2.7"]


@pytest.mark.parametrize(("name", "ttl"), [("a.test", 300), ("nowhere.test", 60)])
async def test_answers_are_remembered_as_long_as_the_ttl_says(name: str, ttl: int) -> None:
    clock = FakeClock()
    async with DnsServer(RECORDS) as server, a_resolver(server, clock=clock) as resolver:
        first = await resolver.a(name)
        first.append("changed by a plugin")
        clock.advance(ttl - 1)
        assert await resolver.a(name.upper()) == first[:-1]
        assert len(server.asked) == 1
        clock.advance(1)
        await resolver.a(name)
        assert len(server.asked) == 2


async def test_ttl_0_is_not_remembered() -> None:
    async with DnsServer(RECORDS, ttl=0) as server, a_resolver(server) as resolver:
        await resolver.a("a.test")
        await resolver.a("a.test")
        assert len(server.asked) == 2


async def test_the_cache_is_bounded() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server, cache_size=2) as resolver:
        for name in ("a", "b", "c", "b", "c"):
            await resolver.a(name)
        assert len(server.asked) == 3
        await resolver.a("a")
        assert len(server.asked) == 4


async def test_identical_questions_share_one_query() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        answers = await asyncio.gather(*(resolver.a("a.test") for _ in range(10)))
        assert answers == [["192.0.2.1", "192.0.2.2"]] * 10
        assert len(server.asked) == 1


async def test_who_gives_up_does_not_take_the_answer_from_others() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        impatient = asyncio.create_task(resolver.a("a.test"))
        patient = asyncio.create_task(resolver.a("a.test"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == ["192.0.2.1", "192.0.2.2"]
        assert impatient.cancelled()
        assert len(server.asked) == 1


async def test_many_at_once() -> None:
    names = [f"n{number}.test" for number in range(150)]
    records = {("A", name): [f"192.0.2.{n % 250}"] for n, name in enumerate(names)}
    async with DnsServer(records) as server, a_resolver(server) as resolver:
        answers = await asyncio.gather(*map(resolver.a, names))
    assert answers == [records["A", name] for name in names]


async def test_the_next_server_is_asked_when_one_fails_or_keeps_silent() -> None:
    broken = DnsServer({("A", "a.test"): dns_failure()})
    silent, good = DnsServer(silent=True), DnsServer(RECORDS)
    with dead_dns_server() as dead:
        async with broken, silent, good:
            addresses = [dead.address, broken.address, silent.address, good.address]
            resolver = DnsResolver(addresses)
            asking = asyncio.create_task(resolver.a("a.test"))
            await let_try_expire(resolver, silent)
            assert await asking == ["192.0.2.1", "192.0.2.2"]
            assert questions(silent) == questions(broken) == ["a.test"]
            await resolver.close()


async def test_a_server_that_keeps_silent_is_asked_after_the_others_for_a_while() -> None:
    clock = FakeClock()
    async with DnsServer(RECORDS, silent=True) as silent, DnsServer(RECORDS) as good:
        resolver = DnsResolver([silent.address, good.address], clock=clock)
        asking = asyncio.create_task(resolver.a("a"))
        await let_try_expire(resolver, silent)
        await asking
        for name in ("b", "c"):
            await resolver.a(name)
        assert questions(silent) == ["a"]
        silent.silent = False
        clock.advance(AVOID_SECONDS)
        for name in ("d", "e"):
            await resolver.a(name)
        assert questions(silent) == ["a", "d", "e"]
        assert questions(good) == ["a", "b", "c"]
        await resolver.close()


async def test_a_server_that_cannot_be_reached_is_asked_after_the_others_for_a_while() -> None:
    with dead_dns_server() as dead:
        async with DnsServer(RECORDS) as good:
            resolver = DnsResolver([dead.address, good.address])
            await resolver.a("a.test")
            order = [str(server) for server in resolver._servers.in_order()]
            assert order == [f"127.0.0.1:{port}" for _, port in (good.address, dead.address)]
            await resolver.close()


async def test_a_silent_server_is_asked_again_as_long_as_there_is_time() -> None:
    async with DnsServer(silent=True) as server, a_resolver(server) as resolver:
        asking = asyncio.create_task(resolver.a("a.test"))
        for number in range(1, 5):
            await let_try_expire(resolver, server, asked=number)
        (lookup,) = resolver._asking.values()
        lookup._end = 0.0
        await let_try_expire(resolver, server, asked=5)
        with pytest.raises(DnsError, match="in time"):
            await asking


async def test_time_is_short() -> None:
    server = DnsServer(silent=True)
    async with server, a_resolver(server, timeout=0.005, lifetime=0.02) as resolver:
        with pytest.raises(DnsError, match="in time"):
            await resolver.a("a.test")


async def test_a_server_that_keeps_silent_to_edns_is_asked_without() -> None:
    async with DnsServer(RECORDS, edns="silent") as server, a_resolver(server) as resolver:
        asking = asyncio.create_task(resolver.a("a.test"))
        await let_try_expire(resolver, server)
        assert await asking == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.mx("null.test") == [(0, "")]
        with_edns = dict(zip(server.asked, server.with_edns, strict=True))
        assert with_edns["MX", "null.test", "udp"] is False


async def test_close_ends_what_is_under_way() -> None:
    async with DnsServer(silent=True) as server:
        resolver = DnsResolver([server.address])
        waiting = asyncio.create_task(resolver.a("a.test"))
        await server.was_asked.wait()
        await resolver.close()
        for look_up in (waiting, resolver.a("b.test")):
            with pytest.raises(DnsError, match="closed"):
                await look_up
        assert questions(server) == ["a.test"]


async def test_close_ends_a_connection() -> None:
    async with DnsServer(truncated=["a.test"], silent_tcp=True) as server:
        resolver = DnsResolver([server.address])
        waiting = asyncio.create_task(resolver.a("a.test"))
        while ("A", "a.test", "tcp") not in server.asked:
            server.was_asked.clear()
            await server.was_asked.wait()
        await resolver.close()
        with pytest.raises(DnsError, match="closed"):
            await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_without_a_name_server_nobody_is_asked() -> None:
    resolver = DnsResolver([])
    with pytest.raises(DnsError, match="no name server is configured"):
        await resolver.a("a.test")
    await resolver.close()


async def test_many_tries_are_given_up_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "_TRIES_PER_TURN", 2)
    async with DnsServer(silent=True) as server, a_resolver(server) as resolver:
        resolver._patience = Patience(10, 10, attempts=1)
        asking = [asyncio.create_task(resolver.a(f"n{number}")) for number in range(5)]
        await let_try_expire(resolver, server, asked=5)
        assert len(resolver._asking) == 3
        assert resolver._timer is not None
        assert resolver._timer.when() <= asyncio.get_running_loop().time()
        for task in asking:
            with pytest.raises(DnsError, match="in time"):
                await task


async def test_an_idle_resolver_has_no_timer() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server, timeout=0.01) as resolver:
        await resolver.a("a.test")
        while resolver._timer is not None:
            await asyncio.sleep(0.001)


# --- what exists ------------------------------------------------------------------------------


async def test_a_name_that_does_not_exist_is_told_from_one_without_records() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        for _ in range(2):  # also when it is remembered
            assert await resolver.look_up("TXT", "nowhere.test") == DnsAnswer((), False)
            assert await resolver.look_up("TXT", "null.test") == DnsAnswer((), True)
            assert await resolver.look_up("A", "alias.test") == DnsAnswer(
                ("192.0.2.1", "192.0.2.2"), True
            )
            assert await resolver.look_up("A", "a..test") == DnsAnswer((), False)
        assert len(server.asked) == 3


async def test_exists_asks_once_or_knows() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        assert not await resolver.exists("nowhere.test")
        assert await resolver.exists("null.test")
        assert await resolver.exists("alias.test")
        assert not await resolver.exists("a..test")
        assert server.asked == [
            ("A", "nowhere.test", "udp"), ("A", "null.test", "udp"), ("A", "alias.test", "udp")
        ]  # fmt: skip
        await resolver.txt("gone.test")
        await resolver.mx("a.test")
        server.asked.clear()
        assert not await resolver.exists("gone.test")
        assert await resolver.exists("a.test")
        assert server.asked == []


async def test_exists_fails_when_nobody_knows() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        for _ in range(2):
            with pytest.raises(DnsError, match="SERVFAIL"):
                await resolver.exists("broken.test")


async def test_a_name_that_some_type_is_denied_for_exists_if_another_has_records() -> None:
    """Broken name servers say NXDOMAIN for types that they do not know (RFC 4074 section 4.2)."""
    raw = {("AAAA", "a.test"): lambda query: query[:2] + b"\x81\x83" + query[4:]}
    async with DnsServer(RECORDS, raw=raw) as server, a_resolver(server) as resolver:
        assert await resolver.aaaa("a.test") == []
        assert await resolver.a("a.test") == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.exists("a.test")


async def test_a_budget_counts_what_is_remembered() -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        limited = resolver.limited(questions=2)
        for _ in range(2):
            assert await limited.a("a.test") == ["192.0.2.1", "192.0.2.2"]
        with pytest.raises(DnsLimitError):
            await limited.a("a.test")
        assert len(server.asked) == 1
        part = resolver.limited(questions=1).limited(questions=5)
        await part.a("a.test")
        with pytest.raises(DnsLimitError):
            await part.a("a.test")


# --- TCP --------------------------------------------------------------------------------------


async def test_up_to_1232_octets_come_by_udp_and_more_by_tcp() -> None:
    records = {("TXT", "short.test"): ["x" * 1100], ("TXT", "long.test"): ["x" * 1300]}
    async with DnsServer(records) as server, a_resolver(server) as resolver:
        assert await resolver.txt("short.test") == ["x" * 1100]
        assert await resolver.txt("long.test") == ["x" * 1300]
    assert [transport for _, _, transport in server.asked] == ["udp", "udp", "tcp"]


async def test_without_edns_more_than_512_come_by_tcp() -> None:
    async with DnsServer(RECORDS, edns="refused") as server, a_resolver(server) as resolver:
        assert await resolver.txt("a.test") == [LONG]
    assert [transport for _, _, transport in server.asked] == ["udp", "udp", "tcp"]


async def test_when_tcp_fails_the_next_server_is_asked() -> None:
    async with DnsServer(truncated=["a.test"]) as first, DnsServer(RECORDS) as second:
        first._server.close()
        resolver = DnsResolver([first.address, second.address])
        assert await resolver.a("a.test") == ["192.0.2.1", "192.0.2.2"]
        await resolver.close()


async def test_a_slow_connection_is_given_up_and_does_not_make_the_server_silent() -> None:
    first = DnsServer(RECORDS, truncated=["a.test"], silent_tcp=True)
    async with first, DnsServer(RECORDS) as second:
        resolver = DnsResolver([first.address, second.address])
        asking = asyncio.create_task(resolver.a("a.test"))
        await let_try_expire(resolver, first, asked=2)
        assert await asking == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.mx("null.test") == [(0, "")]
        assert questions(second) == ["a.test"]
        await resolver.close()


# --- the log ----------------------------------------------------------------------------------


async def test_the_log_says_once_that_no_name_server_answers_and_once_that_one_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with DnsServer(RECORDS, silent=True) as server, a_resolver(server) as resolver:
        resolver._patience = Patience(10, 10, attempts=1)
        for number, name in enumerate(("a", "b", "c"), start=1):
            asking = asyncio.create_task(resolver.a(name))
            await let_try_expire(resolver, server, asked=number)
            with pytest.raises(DnsError, match="in time"):
                await asking
        server.silent = False
        for name in ("d", "e"):
            await resolver.a(name)
        place = f"127.0.0.1:{server.address[1]}"
    assert [record.message for record in caplog.records] == [
        f"no name server answers servers={place}",
        f"a name server answers again servers={place}",
    ]


async def test_silence_about_one_zone_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with DnsServer(RECORDS, silent=["slow.test"]) as server, a_resolver(server) as resolver:
        resolver._patience = Patience(10, 10, attempts=2)
        asking = asyncio.create_task(resolver.a("slow.test"))
        await let_try_expire(resolver, server)
        (lookup,) = resolver._asking.values()
        while not lookup.is_answered:
            await asyncio.sleep(0)
        await let_try_expire(resolver, server, asked=2)
        with pytest.raises(DnsError, match="in time"):
            await asking
    assert ("NS", ".", "udp") in server.asked
    assert caplog.records == []


async def test_a_failure_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with DnsServer(RECORDS) as server, a_resolver(server) as resolver:
        with pytest.raises(DnsError):
            await resolver.a("broken.test")
    assert caplog.records == []


async def test_an_error_cannot_forge_a_log_line() -> None:
    with dead_dns_server() as dead:
        async with a_resolver(dead) as resolver:
            with pytest.raises(DnsError) as caught:
                await resolver.a("a\r\nforged.test")
    assert str(caught.value).isprintable()


# --- resolv.conf ------------------------------------------------------------------------------


@asynccontextmanager
async def following(path: Path, port: int, **arguments: Any) -> AsyncIterator[DnsResolver]:
    """A resolver that follows a file whose name servers listen at a port of theirs."""
    with mock.patch.object(resolver_module, "DNS_PORT", port):
        resolver = DnsResolver(resolv_conf=path, **arguments)
        try:
            yield resolver
        finally:
            await resolver.close()


async def test_a_changed_resolv_conf_is_followed(tmp_path: Path) -> None:
    path, clock = tmp_path / "resolv.conf", FakeClock()
    async with DnsServer(RECORDS, address=("127.0.0.1", 0)) as old:
        port = old.address[1]
        async with (
            DnsServer({("A", "a.test"): ["192.0.2.77"]}, address=("127.0.0.2", port)) as new,
            following(path, port, clock=clock) as resolver,
        ):
            assert await resolver.a("a.test") == ["192.0.2.1", "192.0.2.2"], "this machine"
            path.write_text("nameserver 127.0.0.2\n")
            assert await resolver.a("a.test") == ["192.0.2.1", "192.0.2.2"], "not a second later"
            clock.advance(INTERVAL)
            assert await resolver.a("a.test") == ["192.0.2.77"], "nothing old is remembered"
            assert questions(old) == questions(new) == ["a.test"]


async def test_look_ups_under_way_follow_too(tmp_path: Path) -> None:
    path, clock = tmp_path / "resolv.conf", FakeClock()
    async with DnsServer(silent=True) as old:
        port = old.address[1]
        async with (
            DnsServer(RECORDS, address=("127.0.0.2", port)),
            following(path, port, clock=clock) as resolver,
        ):
            waiting = asyncio.create_task(resolver.a("a.test"))
            await old.was_asked.wait()
            path.write_text("nameserver 127.0.0.2\n")
            clock.advance(INTERVAL)
            await resolver.a("b.test")
            assert await waiting == ["192.0.2.1", "192.0.2.2"]


async def test_options_of_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\noptions timeout:7 attempts:2 rotate\n")
    async with following(path, 53) as resolver:
        assert resolver._patience == Patience(7, 10.0, 2)
        assert resolver._servers._rotate


async def test_attempts_limit_how_often_a_silent_server_is_asked() -> None:
    async with DnsServer(silent=True) as server, a_resolver(server) as resolver:
        resolver._patience = Patience(10, 10, attempts=2)
        asking = asyncio.create_task(resolver.a("a.test"))
        for number in (1, 2):
            await let_try_expire(resolver, server, asked=number)
        with pytest.raises(DnsError, match="in time"):
            await asking
    assert questions(server) == ["a.test"] * 2


# --- a hostile zone ---------------------------------------------------------------------------


def with_answers(records: list[Record]) -> Callable[[bytes], bytes]:
    return lambda query: an_answer(query[12:], records, number=query[:2])


LABELS_100 = b"\1x" * 99 + b"\0"
HOSTILE = {
    "names of 100 labels": [
        Record(pointer(12), 12, 300, label(b"%d" % n) + LABELS_100) for n in range(70)
    ],
    "64 kB": [Record(pointer(12), 12, 300, label(b"%d" % n) + LABELS_100) for n in range(300)],
    "a loop of aliases": [
        Record(pointer(12), 5, 300, b"\1b\4test\0"), Record(b"\1b\4test\0", 5, 300, pointer(12))
    ],
    "a pointer to itself": [Record(pointer(12), 12, 300, pointer(50))],
    "odd octets": [Record(pointer(12), 12, 300, label(b"\r\n X: y") + b"\0")],
}  # fmt: skip


@pytest.mark.parametrize("zone", HOSTILE)
async def test_a_hostile_zone_costs_little_and_is_asked_again_seconds_later(zone: str) -> None:
    clock = FakeClock()
    raw = {("PTR", "192.0.2.66"): with_answers(HOSTILE[zone])}
    async with DnsServer(RECORDS, raw=raw) as server, a_resolver(server, clock=clock) as resolver:
        with counted_lines() as lines:
            for _ in range(3):
                try:
                    names = await resolver.ptr("192.0.2.66")
                except DnsError as error:
                    assert str(error).isprintable()
                else:
                    assert "".join(names).isprintable()
        assert lines() < 12_000
        assert await resolver.ptr("192.0.2.1") == ["host.test"]
        asked = len(server.asked)
        clock.advance(FAILURE_TTL)
        with contextlib.suppress(DnsError):
            await resolver.ptr("192.0.2.66")
        assert (len(server.asked) > asked) is (zone != "odd octets")


async def test_other_servers_are_not_asked_for_what_is_too_large() -> None:
    raw = {("PTR", "192.0.2.66"): with_answers(HOSTILE["64 kB"])}
    async with DnsServer(raw=raw) as first, DnsServer(raw=raw) as second:
        resolver = DnsResolver([first.address, second.address])
        with pytest.raises(DnsError, match="too large"):
            await resolver.ptr("192.0.2.66")
        assert second.asked == []
        await resolver.close()
