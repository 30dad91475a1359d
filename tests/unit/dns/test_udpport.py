# SPDX-License-Identifier: MIT
"""udpport.py: which datagrams count as answers, and when a socket is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from qpsmtpd.dns import udpport
from qpsmtpd.dns.udpport import Query, Turn, UdpPort, is_answer
from tests.dns_server import DnsServer

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
    assert is_answer(answer, NUMBER, QUESTION)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        ANSWER[:11],
        ANSWER[:12],
        ANSWER[:-1],
        FAILURE[:11],
        FAILURE[:3] + b"\x83" + FAILURE[4:],
        b"\x12\x35" + ANSWER[2:],
        b"\x12\x35" + FAILURE[2:],
        ANSWER.replace(b"test", b"tesd"),
        ANSWER[:5] + b"\x02" + ANSWER[6:],
        ANSWER[:2] + b"\x01" + ANSWER[3:],
        ANSWER[:2] + b"\xa1" + ANSWER[3:],
    ],
    ids=[
        "empty", "short", "header", "cut off", "half a failure", "NXDOMAIN of nothing", "id",
        "id of a failure", "question", "two questions", "no response", "opcode NOTIFY",
    ],
)  # fmt: skip
def test_not_an_answer(answer: bytes) -> None:
    assert not is_answer(answer, NUMBER, QUESTION)


# --- the port ---------------------------------------------------------------------------------


class Asking:
    """A port, what it has heard, and what its queries got."""

    def __init__(self, server: DnsServer, turn: Turn | None = None) -> None:
        self.heard = 0
        self.got: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self.port = UdpPort(2, server.address, turn or Turn(), self._hear, self._take)

    def _hear(self) -> None:
        self.heard += 1

    def _take(self, _query: Query, answer: bytes) -> None:
        self.take(answer)

    def take(self, result: bytes | OSError) -> None:
        self.got.put_nowait(result)

    def ask(self, question: bytes = QUESTION, *, edns: bool = True) -> Query:
        query = Query(question, self.take, edns=edns, instead=False)
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
        assert is_answer(answer, query.number, QUESTION)
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
    async with DnsServer() as server:
        pass
    async with asking(server) as one:
        one.ask()
        assert isinstance(await one.answer(), ConnectionRefusedError)


class ShortTurn(Turn):
    """One that ends after some answers, whatever the clock says."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.left = self.answers = answers

    def has_time(self) -> bool:
        super().has_time()
        self.left -= 1
        return self.left >= 0

    def _is_over(self) -> None:
        super()._is_over()
        self.left = self.answers


async def test_all_ports_together_leave_turns_to_others() -> None:
    """However many answers arrive, some of them are read and the loop goes on."""
    turn = ShortTurn(4)
    async with DnsServer(RECORDS) as server:
        several = [Asking(server, turn) for _ in range(4)]
        for one in several:
            for _ in range(8):
                one.ask()
        heard = 0
        while heard < 32:
            await asyncio.sleep(0)
            before, heard = heard, sum(one.heard for one in several)
            assert heard - before <= 4
        for one in several:
            one.port.close()


async def test_a_turn_has_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    turn = Turn()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert turn.has_time()
    now += udpport.SECONDS_PER_TURN / 2
    assert turn.has_time()
    now += udpport.SECONDS_PER_TURN
    assert not turn.has_time()
    await asyncio.sleep(0)
    assert turn.has_time()


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
        for worn_out in (False, True):
            one.ask()
            assert one.port.worn_out is worn_out
    monkeypatch.setattr(udpport, "SECONDS_PER_PORT", -1)
    async with asking(server) as one:
        assert one.port.worn_out


async def test_ids_of_queries_that_wait_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([b"aa", b"aa", b"aa", b"bb"])
    monkeypatch.setattr(udpport, "random_number", lambda: next(numbers))
    async with DnsServer(silent=True) as server, asking(server) as one:
        assert [one.ask().number for _ in range(2)] == [b"aa", b"bb"]
