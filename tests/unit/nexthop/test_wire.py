# SPDX-License-Identifier: MIT
"""Replies are read whatever the pieces they come in; what is no reply is refused."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.nexthop.wire import MAX_REPLY, MAX_UNREAD, HopWire

TEXTS = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]))
REPLIES = st.builds(
    HopReply,
    st.integers(min_value=200, max_value=599),
    st.lists(TEXTS, min_size=1, max_size=4).map(tuple),
)


def encoded(reply: HopReply) -> bytes:
    last = len(reply.lines) - 1
    return b"".join(
        f"{reply.code}{' ' if n == last else '-'}{line}\r\n".encode()
        for n, line in enumerate(reply.lines)
    )


def a_wire() -> HopWire:
    wire = HopWire()
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    wire.connection_made(transport)
    return wire


async def read_all(data: bytes, sizes: list[int], count: int) -> list[HopReply]:
    wire = a_wire()
    replies = []
    position = 0
    for size in [*sizes, len(data)]:
        wire.data_received(data[position : position + size])
        position += size
        while (reply := wire.take_reply()) is not None:
            replies.append(reply)
    assert len(replies) == count
    return replies


@given(st.lists(REPLIES, max_size=5), st.lists(st.integers(min_value=1, max_value=40)))
def test_replies_in_any_pieces(replies: list[HopReply], sizes: list[int]) -> None:
    data = b"".join(map(encoded, replies))
    assert asyncio.run(read_all(data, sizes, len(replies))) == replies


@given(st.binary(max_size=200))
def test_garbage_is_a_reply_or_an_error(data: bytes) -> None:
    async def feed() -> None:
        wire = a_wire()
        wire.data_received(data)
        while (reply := wire.take_reply()) is not None:
            assert 200 <= reply.code <= 599

    try:
        asyncio.run(feed())
    except NextHopError as error:
        assert error.status == "4.5.0"


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"250\r\n", HopReply(250, ("",))),
        (b"250 \n", HopReply(250, ("",))),
        (b"250-a\r\n250\r\n", HopReply(250, ("a", ""))),
        (b"250 \xff\r\n", HopReply(250, ("�",))),
    ],
)
async def test_forms(data: bytes, reply: HopReply) -> None:
    wire = a_wire()
    wire.data_received(data)
    assert wire.take_reply() == reply


@pytest.mark.parametrize(
    "data", [b"\r\n", b"25\r\n", b"2500 x\r\n", b"199 x\r\n", b"600 x\r\n", b"250_x\r\n",
             b"250-a\r\n350 b\r\n", b" 250 x\r\n", b"x" * (MAX_REPLY + 1)],
)  # fmt: skip
async def test_no_reply(data: bytes) -> None:
    wire = a_wire()
    wire.data_received(data)
    with pytest.raises(NextHopError):
        wire.take_reply()


class CountingBuffer(bytearray):
    """Counts the octets that are searched."""

    searched = 0

    def find(self, what: bytes, start: int = 0) -> int:  # type: ignore[override]
        self.searched += len(self) - start
        return super().find(what, start)


@pytest.mark.parametrize("line", [b"250-" + b"x" * 60 + b"\r\n", b"250-" + b"x" * 15000, b"250-\n"])
async def test_dribbled_reply_is_looked_at_once(line: bytes) -> None:
    wire = a_wire()
    buffer = wire._buffer = CountingBuffer()
    octets = (line * 4000)[:15000]
    for octet in octets:
        wire.data_received(bytes([octet]))
        assert wire.take_reply() is None
    assert buffer.searched <= len(octets)


@pytest.mark.parametrize("line", [b"250-" + b"x" * 60 + b"\r\n", b"250-" + b"x" * 20000])
@pytest.mark.parametrize("size", [1, 50000])
async def test_endless_reply(line: bytes, size: int) -> None:
    wire = a_wire()
    data = (line * 400)[:20000]
    with pytest.raises(NextHopError, match="too long"):
        for start in range(0, len(data), size):
            wire.data_received(data[start : start + size])
            assert wire.take_reply() is None


async def test_part_of_a_reply_is_not_quiet() -> None:
    wire = a_wire()
    wire.data_received(b"250-a\r\n")
    assert wire.take_reply() is None
    assert not wire.quiet
    with pytest.raises(NextHopError):
        await wire.send_commands(["NOOP"], 1)


async def test_too_much_unread() -> None:
    wire = a_wire()
    wire.data_received(b"x" * (MAX_UNREAD + 1))
    wire._transport.abort.assert_called_once()  # type: ignore[attr-defined]  # a mock
    assert not wire.quiet


@pytest.mark.parametrize("text", ["MAIL FROM:<a@b>\r\nRSET", "RCPT TO:<a\nb>", "X\0", "X\r", "X\t"])
async def test_no_control_character_in_a_command(text: str) -> None:
    wire = a_wire()
    with pytest.raises(ValueError, match="control character"):
        await wire.send_commands([text], 1)
    wire._transport.write.assert_not_called()  # type: ignore[attr-defined]  # a mock


async def test_unread_reply_stops_the_next_command() -> None:
    wire = a_wire()
    wire.data_received(b"250 surprise\r\n")
    with pytest.raises(NextHopError):
        await wire.send_commands(["NOOP"], 1)


async def test_wait_closed_gives_up() -> None:
    wire = a_wire()
    await wire.wait_closed(0.01)
    wire._transport.abort.assert_called_once()  # type: ignore[attr-defined]  # a mock
