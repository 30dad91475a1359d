# SPDX-License-Identifier: MIT
"""nameserver.py: EDNS and its absence, TCP, ports, and whether a name server answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from qpsmtpd.dns import nameserver, udpport
from qpsmtpd.dns.answers import MAX_OCTETS, is_truncated, rcode_of, read_any
from qpsmtpd.dns.nameserver import AVOID_SECONDS, PLAIN_SECONDS, NameServer
from qpsmtpd.dns.udpport import Query, Turn
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.services import Clock
from qpsmtpd.testing import FakeClock, Records, dns_failure
from tests.dns_server import DnsServer, dead_dns_server

NAME = b"\x01a\x04test\x00"
QUESTION = NAME + b"\x00\x01\x00\x01"
OTHER = b"\x01b\x04test\x00\x00\x01\x00\x01"
RECORDS: Records = {("A", "a.test"): ["192.0.2.1"], ("A", "broken.test"): dns_failure()}


@asynccontextmanager
async def asked(server: DnsServer, clock: Clock | None = None) -> AsyncIterator[NameServer]:
    one = NameServer(*server.address, clock or FakeClock(), Turn())
    try:
        yield one
    finally:
        one.close()


class Asked(Query):
    """A query whose answer is waited for, or not."""

    def __init__(self, question: bytes = QUESTION) -> None:
        self.question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(self, answer: bytes) -> None:
        self.answer.set_result(answer)

    def fail(self, error: OSError) -> None:
        self.answer.set_exception(error)


def begin(one: NameServer, *, again: bool = False, query: Asked | None = None) -> Asked:
    query = query or Asked()
    one.ask(query, asyncio.get_running_loop().time(), again=again)
    return query


async def ask(one: NameServer, question: bytes = QUESTION, *, again: bool = False) -> bytes:
    """The answer by UDP.  Raises OSError."""
    query = begin(one, again=again, query=Asked(question))
    async with asyncio.timeout(10):
        return await query.answer


def addresses(answer: bytes) -> tuple[str, ...]:
    return read_any(answer, QUESTION, "A")[0].records


def test_a_name_server_needs_a_numeric_address() -> None:
    with pytest.raises(OSError, match="not known"):
        NameServer("ns.example.com", 53, FakeClock(), Turn())


def test_its_name() -> None:
    assert str(NameServer("192.0.2.1", 53, FakeClock(), Turn())) == "192.0.2.1:53"
    assert str(NameServer("2001:db8::1", 53, FakeClock(), Turn())) == "[2001:db8::1]:53"


# --- UDP and EDNS -----------------------------------------------------------------------------


async def test_edns_is_offered() -> None:
    async with DnsServer(RECORDS) as server, asked(server) as one:
        for _ in range(2):
            assert addresses(await ask(one)) == ("192.0.2.1",)
        assert server.with_edns == [True, True]


@pytest.mark.parametrize("edns", ["refused", "header"])
async def test_who_does_not_know_edns_is_asked_without_for_a_while(
    edns: Literal["refused", "header"],
) -> None:
    clock = FakeClock()
    async with DnsServer(RECORDS, edns=edns) as server, asked(server, clock) as one:
        for _ in range(2):
            assert addresses(await ask(one)) == ("192.0.2.1",)
        assert server.with_edns == [True, False, False]
        clock.advance(PLAIN_SECONDS)
        server.edns = "yes"
        await ask(one)
        assert server.with_edns == [True, False, False, True]


async def test_who_ignores_edns_is_asked_with_it() -> None:
    async with DnsServer(RECORDS, edns="ignored") as server, asked(server) as one:
        for _ in range(2):
            assert addresses(await ask(one)) == ("192.0.2.1",)
        assert server.with_edns == [True, False] * 2  # the second is the server's own


async def test_who_forgets_edns_is_asked_without() -> None:
    async with DnsServer(RECORDS) as server, asked(server) as one:
        await ask(one)
        server.edns = "refused"
        for _ in range(2):
            assert addresses(await ask(one)) == ("192.0.2.1",)
        assert server.with_edns == [True, True, False, False]


async def test_a_failure_that_has_another_reason_is_passed_on() -> None:
    async with DnsServer(RECORDS) as server, asked(server) as one:
        answer = await ask(one, b"\x06broken" + OTHER[2:])
        assert rcode_of(answer) == 2
        await ask(one)
        assert server.with_edns == [True, True]


async def test_a_failure_without_edns_proves_nothing_about_edns() -> None:
    """It fails with EDNS and without: the next question is asked with it again."""
    records = {("A", "a.test"): dns_failure()}
    async with DnsServer(records, edns="refused") as server, asked(server) as one:
        for _ in range(2):
            assert rcode_of(await ask(one)) == 2
        assert server.with_edns == [True, False] * 2


async def test_a_question_that_is_asked_again_does_without_unless_edns_is_known_to_work() -> None:
    async with DnsServer(RECORDS) as server, asked(server) as one:
        await ask(one)
        await ask(one, again=True)
        assert server.with_edns == [True, True]
    clock = FakeClock()
    async with DnsServer(RECORDS, edns="silent") as server, asked(server, clock) as one:
        assert addresses(await ask(one, again=True)) == ("192.0.2.1",)
        assert addresses(await ask(one)) == ("192.0.2.1",)
        assert server.with_edns == [False, False]
        clock.advance(PLAIN_SECONDS)
        begin(one)
        await ask(one, again=True)
        assert server.with_edns == [False, False, True, False]


async def test_nobody_listens() -> None:
    with dead_dns_server() as server:
        async with asked(server) as one:
            with pytest.raises(OSError, match="refused"):
                await ask(one)


async def test_ports_and_ids_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udpport, "QUERIES_PER_PORT", 3)
    ids, ports = set(), set()
    async with DnsServer(RECORDS) as server, asked(server) as one:
        for _ in range(9):
            ids.add((await ask(one))[:2])
            assert one._udp is not None
            ports.add(one._udp._socket.getsockname())
    assert len(ports) == 3
    assert len(ids) > 5


@pytest.mark.parametrize(("seconds", "number"), [(3600.0, 1), (-1.0, 3)])
async def test_an_old_port_is_replaced(
    seconds: float, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udpport, "SECONDS_PER_PORT", seconds)
    ports = set()
    async with DnsServer(RECORDS) as server, asked(server) as one:
        for _ in range(3):
            await ask(one)
            ports.add(one._udp)
    assert len(ports) == number


async def test_worn_out_ports_that_wait_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udpport, "QUERIES_PER_PORT", 1)
    monkeypatch.setattr(nameserver, "_MAX_RETIRED", 2)
    async with DnsServer(RECORDS, silent=["a.test"]) as server, asked(server) as one:
        queries = [begin(one) for _ in range(5)]
        ports = [query.port for query in queries]
        assert len(set(ports)) == 3
        assert ports[2] is ports[3] is ports[4]
        for query in queries:
            query.give_up()
        await ask(one, OTHER)
        assert [port.is_open for port in ports if port] == [False] * 5


# --- TCP --------------------------------------------------------------------------------------


async def by_tcp(server: DnsServer) -> bytes:
    async with asked(server) as one, asyncio.timeout(10):
        return await one.ask_by_tcp(QUESTION)


async def test_an_answer_by_tcp() -> None:
    async with DnsServer(RECORDS, truncated=["a.test"]) as server, asked(server) as one:
        assert is_truncated(await ask(one))
        assert addresses(await by_tcp(server)) == ("192.0.2.1",)
        assert server.asked == [("A", "a.test", "udp"), ("A", "a.test", "tcp")]


async def test_a_wrong_answer_by_tcp_is_a_failure() -> None:
    raw = {("A", "a.test"): lambda query: bytes([query[0] ^ 1]) + query[1:]}
    async with DnsServer(raw=raw) as server:
        with pytest.raises(DnsError, match="does not belong"):
            await by_tcp(server)


async def test_a_connection_closed_early_is_a_failure() -> None:
    async with DnsServer(silent=True) as server:
        with pytest.raises(DnsError, match="closed early"):
            await by_tcp(server)


async def test_what_is_too_large_is_not_read() -> None:
    raw = {("A", "a.test"): lambda query: query + bytes(MAX_OCTETS + 1 - len(query))}
    async with DnsServer(raw=raw) as server:
        with pytest.raises(DnsError, match="too large"):
            await by_tcp(server)


async def test_connections_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nameserver, "_MAX_TCP", 2)
    connected = asyncio.Queue[asyncio.StreamWriter]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        connected.put_nowait(writer)

    async with await asyncio.start_server(accept, "127.0.0.1") as server:
        host, port = server.sockets[0].getsockname()
        one = NameServer(host, port, FakeClock(), Turn())
        asking = [asyncio.create_task(one.ask_by_tcp(QUESTION)) for _ in range(5)]
        for _ in asking:
            writer = await connected.get()
            assert connected.qsize() <= 1
            writer.close()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, DnsError | OSError) for answer in answers)


# --- whether it answers -----------------------------------------------------------------------


async def test_who_keeps_silent_is_not_first_for_a_while() -> None:
    clock = FakeClock()
    async with DnsServer(silent=True) as server, asked(server, clock) as one:
        assert one.may_be_first()
        one.kept_silent(0.0)
        assert not one.may_be_first()
        clock.advance(AVOID_SECONDS)
        assert one.may_be_first()
        assert not one.may_be_first(), "one question tries it, others do not"
        clock.advance(AVOID_SECONDS)
        assert one.may_be_first()


async def test_who_is_heard_again_is_first_again() -> None:
    async with DnsServer(RECORDS) as server, asked(server) as one:
        one.avoid()
        await ask(one)
        assert one.may_be_first()


async def test_silence_about_one_question_is_not_silence() -> None:
    async with DnsServer(RECORDS, silent=["a.test"]) as server, asked(server) as one:
        start = asyncio.get_running_loop().time()
        begin(one)
        await ask(one, OTHER)
        one.kept_silent(start)
        assert one.may_be_first()


async def test_an_easy_question_finds_out() -> None:
    async with DnsServer(RECORDS, silent=["a.test"]) as server, asked(server) as one:
        begin(one)
        await server.was_asked.wait()
        server.was_asked.clear()
        for _ in range(2):
            one.kept_silent(asyncio.get_running_loop().time())
            assert not one.may_be_first()
        await server.was_asked.wait()
        assert server.asked[1:] == [("NS", ".", "udp")]
        while not one.may_be_first():
            await asyncio.sleep(0)
        await ask(one, OTHER)
        assert [name for _, name, _ in server.asked] == ["a.test", ".", "b.test"]
