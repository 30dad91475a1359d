# SPDX-License-Identifier: MIT
"""udpport.py: which datagrams count as answers, and when a socket is closed."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from types import SimpleNamespace

import pytest

from qpsmtpd.dns import udpport
from qpsmtpd.dns.udpport import Query, Turn, UdpPort, is_answer
from tests.dns_server import DnsServer, dead_dns_server

NAME = b"\x01a\x04test\x00"
QUESTION = NAME + b"\x00\x01\x00\x01"
RECORDS = {("A", "a.test"): ["192.0.2.1"]}
NUMBER = b"\x12\x34"
ANSWER = NUMBER + b"\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" + QUESTION
FAILURE = NUMBER + b"\x81\x81" + bytes(8)


# --- what is an answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [ANSWER, ANSWER.replace(b"test", b"TesT"), ANSWER + b"more", FAILURE],
    ids=["same", "other case", "with records", "a failure without the question"],
)
def test_an_answer(answer: bytes) -> None:
    assert is_answer(answer, QUESTION)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        ANSWER[:11],
        ANSWER[:12],
        ANSWER[:-1],
        FAILURE[:11],
        FAILURE[:3] + b"\x83" + FAILURE[4:],
        ANSWER.replace(b"test", b"tesd"),
        ANSWER[:5] + b"\x02" + ANSWER[6:],
        ANSWER[:2] + b"\x01" + ANSWER[3:],
        ANSWER[:2] + b"\xa1" + ANSWER[3:],
    ],
    ids=[
        "empty", "short", "header", "cut off", "half a failure", "NXDOMAIN of nothing", "question",
        "two questions", "no response", "opcode NOTIFY",
    ],
)  # fmt: skip
def test_not_an_answer(answer: bytes) -> None:
    assert not is_answer(answer, QUESTION)


# --- the port ---------------------------------------------------------------------------------


class Told(Query):
    """A query that puts what it is told into a queue."""

    def __init__(
        self, question: bytes, got: asyncio.Queue[bytes | OSError], *, edns: bool = True
    ) -> None:
        self.question, self.edns = question, edns
        self._got = got

    def take(self, answer: bytes) -> None:
        self._got.put_nowait(answer)

    def fail(self, error: OSError) -> None:
        self._got.put_nowait(error)


class Asking:
    """A port, how often it has heard anything, and what its queries got."""

    def __init__(self, server: DnsServer, turn: Turn | None = None) -> None:
        self.times: list[float] = []
        self.got: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self.port = UdpPort(2, server.address, turn or Turn(), self)

    @property
    def heard(self) -> float:
        return len(self.times)

    @heard.setter
    def heard(self, now: float) -> None:
        self.times.append(now)

    def take(self, query: Query, answer: bytes) -> None:
        query.take(answer)

    def ask(self, question: bytes = QUESTION, *, edns: bool = True) -> Query:
        query = Told(question, self.got, edns=edns)
        self.port.send(query)
        return query

    async def answer(self) -> bytes | OSError:
        async with asyncio.timeout(10):
            return await self.got.get()


@asynccontextmanager
async def asking(server: DnsServer) -> AsyncIterator[Asking]:
    one = Asking(server)
    try:
        yield one
    finally:
        one.port.close()


@pytest.mark.parametrize("edns", [True, False])
async def test_an_answer_arrives(edns: bool) -> None:
    async with DnsServer(RECORDS) as server, asking(server) as one:
        query = one.ask(edns=edns)
        answer = await one.answer()
        assert isinstance(answer, bytes)
        assert answer[:2] == query.number
        assert is_answer(answer, QUESTION)
        assert server.with_edns == [edns]
        assert one.heard == 1


def other_id(wire: bytes) -> bytes:
    return bytes([wire[0] ^ 1]) + wire[1:]


@pytest.mark.parametrize(
    "forge",
    [
        other_id,
        lambda wire: wire.replace(b"\x01a\x04test", b"\x01b\x04test"),
        lambda wire: wire[:2] + b"\x01" + wire[3:],
        lambda wire: wire[:11],
        lambda wire: b"",
    ],
    ids=["id", "question", "no response", "short", "empty"],
)
async def test_forged_answers_are_ignored(forge: Callable[[bytes], bytes]) -> None:
    def evil(wire: bytes) -> list[bytes]:
        lie = wire.replace(b"\xc0\x00\x02\x01", b"\x06\x06\x06\x06")
        return [forge(lie), wire]

    async with DnsServer(RECORDS, tamper=evil) as server, asking(server) as one:
        one.ask()
        answer = await one.answer()
        assert isinstance(answer, bytes)
        assert b"\xc0\x00\x02\x01" in answer


async def test_only_the_name_server_is_heard() -> None:
    async with DnsServer(RECORDS, silent=["a.test"]) as server, asking(server) as one:
        query = one.ask()
        await server.was_asked.wait()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=one.port._socket.getsockname()
        )
        transport.sendto(query.number + ANSWER[2:])
        one.ask(b"\x01b\x04test\x00\x00\x01\x00\x01")
        await one.answer()
        transport.close()
        assert one.heard == 1


async def test_who_gave_up_is_not_called() -> None:
    async with DnsServer(RECORDS) as server, asking(server) as one:
        one.ask().give_up()
        second = one.ask()
        answer = await one.answer()
        assert isinstance(answer, bytes)
        assert answer[:2] == second.number
        assert one.got.empty()


async def test_nobody_listens() -> None:
    with dead_dns_server() as server:
        async with asking(server) as one:
            one.ask()
            assert isinstance(await one.answer(), ConnectionRefusedError)


class ShortTurn(Turn):
    """One in which each answer takes the same part of the time, whatever the clock says."""

    def __init__(self, answers: int) -> None:
        self._each = udpport.SECONDS_PER_TURN / (answers - 0.5)
        self._left = 0.0
        super().__init__()

    @property
    def left(self) -> float:
        return self._left

    @left.setter
    def left(self, seconds: float) -> None:
        begins = seconds == udpport.SECONDS_PER_TURN
        self._left = seconds if begins else self._left - self._each


async def test_all_ports_together_leave_turns_to_others() -> None:
    """However many answers arrive, some of them are read and the loop goes on."""
    turn = ShortTurn(4)
    async with DnsServer(RECORDS) as server:
        several = [Asking(server, turn) for _ in range(4)]
        for one in several:
            for _ in range(8):
                one.ask()
        heard = 0.0
        while heard < 32:
            await asyncio.sleep(0)
            before, heard = heard, sum(one.heard for one in several)
            assert heard - before <= 4
        for one in several:
            one.port.close()


async def test_a_turn_has_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, each = Turn(), udpport.SECONDS_PER_TURN * 0.4
    monkeypatch.setattr(udpport, "time", SimpleNamespace(monotonic=count(0.0, each).__next__))
    async with DnsServer(RECORDS) as server:
        one = Asking(server, turn)
        for left in (0.6, 0.2, -0.2):
            one.ask()
            await one.answer()
            assert turn.left == pytest.approx(udpport.SECONDS_PER_TURN * left)
        await asyncio.sleep(0)
        assert turn.left == udpport.SECONDS_PER_TURN
        one.port.close()


async def test_a_retired_port_stays_open_while_somebody_waits() -> None:
    async with DnsServer(RECORDS, silent=True) as server, asking(server) as one:
        query = one.ask()
        one.port.retire()
        assert one.port.is_open
        query.give_up()
        assert not one.port.is_open


async def test_a_port_wears_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udpport, "QUERIES_PER_PORT", 2)
    async with DnsServer(RECORDS) as server, asking(server) as one:
        for left in (1, 0):
            one.ask()
            assert one.port.queries_left == left


async def test_ids_of_queries_that_wait_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = iter([b"ccaa", b"aaaa", b"bbaa"])
    monkeypatch.setattr(udpport, "_numbers", struct.Struct("2s2s"))
    monkeypatch.setattr(os, "urandom", lambda length: next(octets)[:length])
    async with DnsServer(silent=True) as server, asking(server) as one:
        assert [one.ask().number for _ in range(3)] == [b"aa", b"cc", b"bb"]
