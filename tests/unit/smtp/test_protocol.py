# SPDX-License-Identifier: MIT
"""The wire, on loopback sockets: flow, time-outs, and clients that go away at the wrong moment."""

from __future__ import annotations

import asyncio
import socket
import struct
import weakref
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import ReverseNames
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.smtp import protocol
from qpsmtpd.smtp.connection import ClientGoneError, LineTooLongError
from qpsmtpd.smtp.deadlines import Watch
from qpsmtpd.smtp.protocol import HIGH_WATER, SmtpProtocol, endpoint
from qpsmtpd.smtp.tarpit import Tarpit
from qpsmtpd.testing import serve
from tests.unit.client import PIPELINED, Client, catcher, catching, on_both_loops, until, wire_of
from tests.unit.fakewire import Catcher, a_snapshot

# --- flow, with a transport that only remembers ----------------------------------------------


class FakeTransport:
    """Remembers what is written, and whether it reads."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self._reading = True

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4000)

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def close(self) -> None: ...

    abort = close


class FakeHost:
    """A server of this one connection."""

    def __init__(self, **settings: Any) -> None:
        self.snapshot = a_snapshot(Catcher(), **settings)
        self.memory = SpoolMemory()
        self.tarpit = Tarpit()
        self.watch = Watch(asyncio.get_running_loop())

    def admit(self, _protocol: SmtpProtocol, _ip: str) -> int:
        return 1

    def admit_as(self, _protocol: SmtpProtocol, _ip: str) -> int:
        return 1

    def forget(self, _protocol: SmtpProtocol) -> None: ...

    def reverse_lookup(self, _ip: str) -> Any:
        async def nobody() -> ReverseNames:
            return ReverseNames()

        return nobody


def connected(**settings: Any) -> tuple[SmtpProtocol, FakeTransport]:
    wire = SmtpProtocol(FakeHost(**settings), asyncio.get_running_loop())
    transport = FakeTransport()
    wire.connection_made(cast("asyncio.Transport", transport))
    return wire, transport


async def hang_up(wire: SmtpProtocol) -> None:
    wire.connection_lost(None)
    assert wire.task is not None
    await wire.task


async def test_replies_to_a_group_of_commands_are_one_write() -> None:
    wire, transport = connected()
    await until(lambda: bool(transport.writes))
    wire.data_received(PIPELINED)
    await until(lambda: len(transport.writes) > 1)
    wire.data_received(b"Subject: x\r\n\r\n.\r\nRSET\r\nNOOP\r\nNOOP\r\n")
    await until(lambda: len(transport.writes) > 2)
    greeting, to_data, rest = transport.writes
    assert greeting.startswith(b"220 ")
    assert to_data.count(b"\r\n") == 7 + 3
    assert to_data.endswith(b"\r\n354 Go ahead, end with a dot on a line by itself\r\n")
    assert rest == b"250 2.0.0 Caught\r\n" + b"250 2.0.0 OK\r\n" * 3
    await hang_up(wire)


async def test_reading_stops_while_much_is_unread() -> None:
    wire, transport = connected()
    await until(lambda: bool(transport.writes))
    wire.data_received(b"x" * (HIGH_WATER - 1))
    assert transport.is_reading()
    wire.data_received(b"x")
    assert not transport.is_reading()
    await until(transport.is_reading)
    await hang_up(wire)


async def test_a_slow_reader_stops_the_commands() -> None:
    wire, transport = connected()
    await until(lambda: bool(transport.writes))
    wire.pause_writing()
    wire.data_received(b"NOOP\r\n" * 3)
    await until(lambda: len(transport.writes) == 2)
    wire.data_received(b"NOOP\r\n")
    await asyncio.sleep(0)
    assert len(transport.writes) == 2
    wire.resume_writing()
    await until(lambda: len(transport.writes) == 3)
    await hang_up(wire)


async def test_a_long_pipeline_lets_the_others_have_their_turn() -> None:
    wire, transport = connected(max_junk_commands=10**6)
    await until(lambda: bool(transport.writes))
    reply = b"250 2.0.0 OK\r\n"
    commands = 20 * protocol.MOST_OUTPUT // len(reply)
    wire.data_received(b"NOOP\r\n" * commands)
    turns = 0
    while b"".join(transport.writes).count(b"\r\n") <= commands:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 20
    assert max(map(len, transport.writes)) < protocol.MOST_OUTPUT + len(reply)
    await hang_up(wire)


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ([b"NOOP\r\n"], b"NOOP"),
        ([b"NO", b"OP", b"\r", b"\n"], b"NOOP"),
        ([b"NOOP\n"], b"NOOP\n"),
        ([b"\r\n"], b""),
        ([b"x" * 9 + b"\r\n"], b"x" * 9),
        ([b"x" * 10 + b"\r\n"], None),
        ([b"x" * 11, b"x", b"\r\n"], None),
        ([b"x" * 10 + b"\n"], b"x" * 10 + b"\n"),
    ],
)
async def test_lines(pieces: list[bytes], line: bytes | None) -> None:
    wire, _ = connected()
    assert wire.task is not None
    wire.task.cancel()
    reading = asyncio.ensure_future(wire.read_line(9))
    for piece in pieces:
        await asyncio.sleep(0)
        wire.data_received(piece)
    if line is None:
        with pytest.raises(LineTooLongError):
            await reading
    else:
        assert await reading == line
    assert not wire.pending_input
    await asyncio.wait([wire.task])
    wire.connection_lost(None)


@pytest.mark.parametrize(("answer", "line"), [(True, b"\0x"), (False, b"\0")])
async def test_an_answer_is_a_line_whatever_it_begins_with(answer: bool, line: bytes) -> None:
    wire, _ = connected()
    assert wire.task is not None
    wire.task.cancel()
    reading = asyncio.ensure_future(wire.read_line(9, answer=answer))
    for piece in (b"\0", b"x\r", b"\n"):
        await asyncio.sleep(0)
        wire.data_received(piece)
    assert await reading == line
    await asyncio.wait([wire.task])
    wire.connection_lost(None)


async def lines_of(pieces: Sequence[bytes]) -> list[bytes | None]:
    """The lines that come in pieces; None for one of more than 5 octets."""
    wire, _ = connected()
    assert wire.task is not None
    wire.task.cancel()
    await asyncio.wait([wire.task])
    reading = asyncio.create_task(_read_lines(wire))
    for piece in pieces:
        await asyncio.sleep(0)
        wire.data_received(piece)
    await asyncio.sleep(0)
    wire.connection_lost(None)
    return await reading


async def _read_lines(wire: SmtpProtocol) -> list[bytes | None]:
    lines: list[bytes | None] = []
    while True:
        try:
            lines.append(await wire.read_line(5))
        except LineTooLongError:
            lines.append(None)
        except ClientGoneError:
            return lines


@given(st.lists(st.text("x\r", max_size=8)), st.data())
async def test_a_line_is_the_same_in_however_many_pieces(texts: list[str], data: Any) -> None:
    whole = [f"{text}\n".encode() for text in texts]
    stream = b"".join(whole)
    places = data.draw(st.lists(st.integers(0, len(stream)), unique=True).map(sorted))
    pieces = [stream[a:b] for a, b in pairwise([0, *places, len(stream)]) if a < b]
    assert await lines_of(whole) == await lines_of(pieces) == await lines_of([stream])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("192.0.2.7", 25), Endpoint("192.0.2.7", 25)),
        (("2001:DB8::1", 25, 0, 0), Endpoint("2001:db8::1", 25)),
        (("::ffff:192.0.2.7", 25, 0, 0), Endpoint("192.0.2.7", 25)),
        (("fe80::1%eth0", 25, 0, 2), Endpoint("fe80::1", 25)),
        ("", Endpoint("127.0.0.1")),
        (None, None),
    ],
)
def test_endpoints(name: Any, expected: Endpoint | None) -> None:
    assert endpoint(name) == expected


# --- clients that go away ---------------------------------------------------------------------


@on_both_loops
async def test_a_client_that_was_gone_before_it_came_has_no_address(tmp_path: Path) -> None:
    """It must not pass for the local host, which may relay."""
    async with serve(catching(tmp_path)) as serving:
        gone = socket.socket()
        gone.bind(("127.0.0.2", 0))
        gone.connect((serving.host, serving.port))
        gone.sendall(PIPELINED + b"Subject: x\r\n\r\n.\r\n")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        client = await Client.of(serving)
        await client.close()
        await until(lambda: not serving.server.connections)
        seen = {client.ip for client in catcher(serving).clients}
        assert seen <= {"127.0.0.1", "127.0.0.2"}
        assert len(catcher(serving).clients) <= 2
        assert catcher(serving).clients[-1].ip == "127.0.0.1"
        assert [one.ip for one in catcher(serving).clients].count("127.0.0.1") == 1


@on_both_loops
async def test_half_close_behind_the_dot(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        plugin = catcher(serving)
        plugin.gate.clear()
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        client.send(b"Subject: x\r\n\r\n.\r\n")
        client.writer.write_eof()
        await plugin.waits.wait()
        await asyncio.sleep(0)
        plugin.gate.set()
        assert await client.reply() == "250 2.0.0 Caught"
        assert await client.closed()
        assert len(plugin.messages) == 1
        await client.close()


@on_both_loops
async def test_reset_behind_the_dot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "qpsmtpd")
    async with serve(catching(tmp_path)) as serving:
        plugin = catcher(serving)
        plugin.gate.clear()
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        client.send(b"Subject: x\r\n\r\n.\r\n")
        await plugin.waits.wait()
        wire = wire_of(serving)
        client.reset()
        await until(lambda: wire._lost)
        assert plugin.messages == []
        plugin.gate.set()
        await until(lambda: not serving.server.connections)
        assert len(plugin.messages) == 1
        assert "message accepted" in caplog.text


@pytest.mark.parametrize(
    "block", [b"Subj", b"Subject: x\r\n\r\nHello.\r\n", b"x\r\n\r\n" + b"y" * 99999]
)
@on_both_loops
async def test_reset_in_the_middle_of_data(tmp_path: Path, block: bytes) -> None:
    files = catching(tmp_path) | {"size_threshold": ["1000"]}
    async with serve(files) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        client.send(block)
        await client.writer.drain()
        client.reset()
        await until(lambda: not serving.server.connections)
        assert catcher(serving).messages == []
        assert list((serving.directory / "spool").iterdir()) == []


# --- what remains of a connection ------------------------------------------------------------


async def test_a_connection_that_is_over_is_freed_at_once() -> None:
    """Whatever still knows the session, such as a cancelled timer, keeps no buffers of TLS."""
    wire, transport = connected()
    assert wire.connection is not None
    session, seen = wire.connection.session, weakref.ref(transport)
    del transport
    await hang_up(wire)
    assert session.client.ip == "192.0.2.1"
    assert seen() is None
    assert wire.task is None
