# SPDX-License-Identifier: MIT
"""dns.py: DnsResolver against a name server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dns.nameserver import FAILURE_TTL
from qpsmtpd.dns.resolver import DnsResolver, parse_resolv_conf, system_nameservers
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import Resolver
from qpsmtpd.testing import FakeClock, Records, dns_failure
from tests.dns_server import DnsServer

LONG = "v=spf1 " + "x" * 600


@asynccontextmanager
async def a_resolver(server: DnsServer, **arguments: Any) -> AsyncIterator[DnsResolver]:
    resolver = DnsResolver([server.address], **arguments)
    try:
        yield resolver
    finally:
        await resolver.close()


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
            with pytest.raises(DnsError, match=r"A broken\.test: 127.*SERVFAIL"):
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
    async with DnsServer() as dead:
        pass
    async with broken, DnsServer(silent=True) as silent, DnsServer(RECORDS) as good:
        addresses = [dead.address, broken.address, silent.address, good.address]
        resolver = DnsResolver(addresses, timeout=0.01)
        assert await resolver.a("a.test") == ["192.0.2.1", "192.0.2.2"]
        assert len(silent.asked) == len(broken.asked) == 1
        await resolver.close()


async def test_a_silent_server_is_asked_again_until_the_lifetime_ends() -> None:
    async with DnsServer(silent=True) as server:
        async with a_resolver(server, timeout=0.005, lifetime=0.05) as resolver:
            with pytest.raises(DnsError, match="in time"):
                await resolver.a("a.test")
        assert len(server.asked) >= 2


async def test_close_ends_what_is_under_way() -> None:
    async with DnsServer(silent=True) as server:
        resolver = DnsResolver([server.address])
        waiting = asyncio.create_task(resolver.a("a.test"))
        await server.was_asked.wait()
        await resolver.close()
        await asyncio.wait([waiting])
        assert waiting.cancelled()


# --- resolv.conf ----------------------------------------------------------------------------


def test_resolv_conf() -> None:
    text = (
        "# nameserver 192.0.2.9\nsearch example.com\nnameserver\nnameserver dns.example\n"
        "  nameserver 192.0.2.1 # ours\nnameserver 2001:db8::1\nnameserver fe80::1%lo\n"
        "nameserver 192.0.2.3\n"
    )
    assert parse_resolv_conf(text) == [("192.0.2.1", 53), ("2001:db8::1", 53), ("fe80::1%lo", 53)]


@given(st.text())
def test_any_resolv_conf(text: str) -> None:
    assert len(parse_resolv_conf("nameserver " + text)) <= 3


def test_without_resolv_conf_this_machine_is_asked(tmp_path: Path) -> None:
    assert system_nameservers(tmp_path / "resolv.conf") == [("127.0.0.1", 53)]
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    assert system_nameservers(tmp_path / "resolv.conf") == [("192.0.2.1", 53)]


async def test_names_are_written_as_idna_2008_has_them() -> None:
    """In that of 2003 they would be other names: strasse.test, and other people's."""
    pytest.importorskip("idna", reason="needs idna (pip install idna, or apt install python3-idna)")
    async with DnsServer() as server, a_resolver(server) as resolver:
        await resolver.a("straße.test")
        await resolver.a("σελίς.test")
        names = [name for _, name, _ in server.asked]
    assert names == ["xn--strae-oqa.test", "xn--kxals3ab.test"]
