# SPDX-License-Identifier: MIT
from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.addresses import NAMED, NAMELESS, OWN, STRANGERS, source_address
from tests.bench.client import Client, Prober, RefusedError, a_message, is_complete, visit
from tests.bench.crowd import Errand, come
from tests.bench.peers.bare.uvloop_server import Bare

KB, MB = 1024, 1024 * 1024
ERRAND = Errand(4 * KB, network="127.1")
MESSAGE = ERRAND.message()


@pytest.mark.parametrize("size", [4 * KB, 100 * KB, 5 * MB])
def test_a_message_has_its_size_and_one_final_dot(size: int) -> None:
    message = a_message(size)
    assert abs(len(message) - size) < 100
    assert message.endswith(b"\r\n.\r\n")
    assert message.count(b"\r\n.") == 1


@given(st.lists(st.text("abc -", max_size=9), min_size=1, max_size=4), st.integers(min_value=0))
def test_a_reply_is_complete_with_its_last_line_only(texts: list[str], cut: int) -> None:
    lines = [f"250-{text}\r\n" for text in texts[:-1]] + [f"250 {texts[-1]}\r\n"]
    reply = "".join(lines).encode()
    assert is_complete(reply)
    assert not is_complete(reply[: cut % len(reply)])


def test_every_stranger_has_an_address_of_its_own() -> None:
    network = ipaddress.ip_network("198.18.0.0/15")
    addresses = [source_address(n, kind) for kind in (NAMED, NAMELESS) for n in range(STRANGERS)]
    assert len(set(addresses)) == 2 * STRANGERS
    assert OWN not in addresses
    for address in (*addresses[::97], addresses[-1], OWN):
        assert ipaddress.ip_address(address) in network


def test_there_are_no_more_strangers() -> None:
    with pytest.raises(ValueError, match="only"):
        source_address(STRANGERS)


@asynccontextmanager
async def a_server(protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class Busy(Bare):
    """Takes nobody's recipients."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"RCPT"):
            self._transport.write(b"450-Not\r\n450 now\r\n")
        else:
            super().data_received(data)


class Rude(Bare):
    """Hangs up on whoever says something."""

    def data_received(self, data: bytes) -> None:
        self._transport.close()


async def test_a_visit_takes_longer_than_its_greeting() -> None:
    async with a_server(Bare) as port:
        seen = await visit(port, a_message(4 * KB), "127.0.0.9")
    assert 0 < seen.greeted < seen.finished


@pytest.mark.parametrize(
    ("server", "words"), [(Busy, "450-Not\r\n450 now"), (Rude, "connection closed")]
)
async def test_what_a_client_did_not_want_to_hear(server: type[Bare], words: str) -> None:
    async with a_server(server) as port:
        with pytest.raises(RefusedError, match=f"^{words}$"):
            await visit(port, a_message(4 * KB))


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(RefusedError, match="ConnectionRefusedError"):
            async with Client.connected(bound.getsockname()[1]):
                pass


async def test_each_prober_visits_once_at_least() -> None:
    async with a_server(Bare) as port:
        prober = Prober(port, 4 * KB)
        async with prober.probing(2, pause=600):
            pass
    assert len(prober.visits) == 2


async def test_a_prober_tells_that_it_was_refused() -> None:
    async with a_server(Busy) as port:
        prober = Prober(port, 4 * KB)
        with pytest.raises(ExceptionGroup) as group:
            async with prober.probing(1, pause=600):
                await asyncio.Event().wait()
    assert group.group_contains(RefusedError)


async def test_a_crowd_comes_from_many_addresses_a_few_at_a_time() -> None:
    present: set[str] = set()
    seen: list[str] = []
    most = 0

    class Counting(Bare):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal most
            super().connection_made(transport)
            self.address = transport.get_extra_info("peername")[0]
            seen.append(self.address)
            present.add(self.address)
            most = max(most, len(present))

        def connection_lost(self, exc: Exception | None) -> None:
            present.discard(self.address)

    async with a_server(Counting) as port:
        crowd = await asyncio.to_thread(come, port, 40, 7, 300, ERRAND, MESSAGE)
    assert sorted(seen) == sorted(source_address(number, "127.1") for number in range(300, 340))
    assert most <= 2 * 7  # the server may hear of departures after the next arrivals
    assert len(crowd.greeted) == len(crowd.finished) == 40
    assert crowd.refusals == []


async def test_a_crowd_tells_how_it_was_refused() -> None:
    async with a_server(Busy) as port:
        crowd = await asyncio.to_thread(come, port, 3, 3, 0, ERRAND, MESSAGE)
    assert crowd.refusals == ["450-Not\r\n450 now\r\n"] * 3
    assert len(crowd.greeted) == 3
    assert crowd.finished == []


async def test_a_crowd_that_shares_its_addresses_and_sends_much() -> None:
    seen: list[str] = []
    received: list[int] = []

    class Measuring(Bare):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.append(transport.get_extra_info("peername")[0])
            received.append(0)
            self._number = len(received) - 1

        def data_received(self, data: bytes) -> None:
            received[self._number] += len(data)
            super().data_received(data)

    errand = replace(ERRAND, size=9 * MB, addresses=2)
    async with a_server(Measuring) as port:
        crowd = await asyncio.to_thread(come, port, 5, 3, 1, errand, errand.message())
    assert crowd.refusals == []
    assert len(crowd.finished) == 5
    assert sorted(seen) == ["127.1.0.1"] * 2 + ["127.1.0.2"] * 3
    assert min(received) > len(errand.message())


class Closed(Bare):
    """Refuses everybody in place of the greeting, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(b"550 5.7.1 Not you\r\n")
        self._transport.close()


class Choosy(Bare):
    """Refuses recipients for good."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"RCPT"):
            self._transport.write(b"550-5.7.1 Not\r\n550 5.7.1 here\r\n")
        else:
            super().data_received(data)


@pytest.mark.parametrize("server", [Closed, Choosy])
async def test_a_crowd_that_is_to_be_refused(server: type[Bare]) -> None:
    refused = replace(ERRAND, refused=True)
    async with a_server(server) as port:
        crowd = await asyncio.to_thread(come, port, 5, 2, 0, refused, MESSAGE)
    assert crowd.refusals == []
    assert len(crowd.finished) == 5


@pytest.mark.parametrize(("server", "reply"), [(Bare, "250 OK"), (Busy, "450-Not\r\n450 now")])
async def test_a_crowd_that_should_have_been_refused(server: type[Bare], reply: str) -> None:
    refused = replace(ERRAND, refused=True)
    async with a_server(server) as port:
        crowd = await asyncio.to_thread(come, port, 2, 2, 0, refused, MESSAGE)
    assert crowd.refusals == [f"{reply}\r\n"] * 2
    assert crowd.finished == []


async def test_a_crowd_that_nobody_listens_to() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        crowd = await asyncio.to_thread(come, bound.getsockname()[1], 2, 2, 0, ERRAND, MESSAGE)
    assert len(crowd.refusals) == 2
    assert all("refused" in refusal for refusal in crowd.refusals)


SESSION: Sequence[bytes] = (
    b"EHLO a\r\n",
    b"MAIL FROM:<>\r\n",
    b"RCPT TO:<b@c>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nQUIT\r\n..\r\n.\r\n",
    b"QUIT\r\n",
)


class Written(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        self.data += data

    def close(self) -> None:
        self.closed = True


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_the_bare_server_answers_the_same_however_the_bytes_come(sizes: list[int]) -> None:
    transport, server = Written(), Bare()
    server.connection_made(transport)
    sent, number = b"".join(SESSION), 0
    while sent:
        size = sizes[number % len(sizes)]
        server.data_received(sent[:size])
        sent, number = sent[size:], number + 1
    replies = [line[:4] for line in transport.data.splitlines()]
    assert replies == [
        *(b"220 ", b"250-", b"250-", b"250 "),
        *(b"250 ", b"250 ", b"354 ", b"250 ", b"221 "),
    ]
    assert transport.closed
