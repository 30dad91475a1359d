# SPDX-License-Identifier: MIT
"""Packets are read as they were written, in whatever pieces they come."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.milter.codec import (
    MAX_PACKET,
    BadPacketError,
    Splitter,
    encode,
    read_command,
    read_reply,
)
from qpsmtpd.milter.packets import (
    COMMANDS,
    REPLIES,
    AddRecipientWith,
    ChangeHeader,
    Connect,
    Continue,
    InsertHeader,
    Macros,
    Mail,
    Negotiate,
    Packet,
    ReplyCode,
)

TEXT = st.binary(max_size=50).map(lambda octets: octets.replace(b"\0", b"x"))
NUMBER = st.integers(0, 0xFFFFFFFF)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "version": NUMBER,
    "actions": NUMBER,
    "steps": NUMBER,
    "index": NUMBER,
    "macros": st.lists(st.tuples(NUMBER, TEXT)).map(tuple),
    "command": st.binary(min_size=1, max_size=1),
    "values": st.lists(st.tuples(TEXT, TEXT)).map(tuple),
    "words": st.lists(TEXT).map(tuple),
    "chunk": st.binary(max_size=300),
}


def of_kind(kind: type[Packet]) -> st.SearchStrategy[Packet]:
    if kind is Connect:
        unix = st.builds(Connect, TEXT, st.just(b"U"))
        return unix | st.builds(
            Connect, TEXT, st.sampled_from([b"4", b"6", b"L"]), st.integers(0, 0xFFFF), TEXT
        )
    fields = {field.name: FIELDS.get(field.name, TEXT) for field in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


def split(octets: bytes, size: int = 65536) -> list[tuple[bytes, bytes]]:
    splitter, found = Splitter(), []
    for start in range(0, len(octets), size):
        splitter.feed(octets[start : start + size])
        while (packet := splitter.next()) is not None:
            found.append(packet)
    assert not splitter.waiting
    return found


@given(packet=st.sampled_from(COMMANDS).flatmap(of_kind), size=st.integers(1, 20))
def test_commands_come_back(packet: Packet, size: int) -> None:
    [one] = split(encode(packet), size)
    assert read_command(*one) == packet


@given(packet=st.sampled_from(REPLIES).flatmap(of_kind), size=st.integers(1, 20))
def test_replies_come_back(packet: Packet, size: int) -> None:
    [one] = split(encode(packet), size)
    assert read_reply(*one) == packet


@pytest.mark.parametrize(
    ("packet", "octets"),
    [
        (Continue(), b"\0\0\0\x01c"),
        (Negotiate(6, 1, 2), b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x01\0\0\0\x02"),
        (
            Connect(b"a.test", b"4", 1025, b"192.0.2.1"),
            b"\0\0\0\x15Ca.test\x004\x04\x01192.0.2.1\0",
        ),
        (Mail((b"<a@b.test>", b"SIZE=1")), b"\0\0\0\x13M<a@b.test>\0SIZE=1\0"),
        (Macros(b"M", ((b"i", b"1"),)), b"\0\0\0\x06DMi\x001\0"),
        (InsertHeader(1, b"X", b"y"), b"\0\0\0\x09i\0\0\0\x01X\0y\0"),
        (AddRecipientWith(b"<a>"), b"\0\0\0\x052<a>\0"),
    ],
)
def test_octets(packet: Packet, octets: bytes) -> None:
    assert encode(packet) == octets


def test_a_last_text_needs_no_end() -> None:
    assert read_reply(b"y", b"550 no") == ReplyCode(b"550 no")


@pytest.mark.parametrize(
    ("letter", "data"),
    [
        (b"?", b""),
        (b"c", b"more"),
        (b"m", b"\0\0\0"),
        (b"m", b"\0\0\0\x01X\0no end"),
        (b"h", b"X\0y\0more"),
        (b"O", b"\0\0\0\x06"),
        (b"O", bytes(12) + b"\0\0\0\x01no end"),
        (b"M", b"a command"),
    ],
)
def test_nonsense(letter: bytes, data: bytes) -> None:
    with pytest.raises(BadPacketError):
        read_reply(letter, data)


def test_macros_come_in_pairs() -> None:
    with pytest.raises(BadPacketError, match="a name without its value"):
        read_command(b"D", b"Mi\0")


@pytest.mark.parametrize("length", [0, MAX_PACKET + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_known_at_once(length: int) -> None:
    splitter = Splitter()
    splitter.feed(length.to_bytes(4, "big"))
    with pytest.raises(BadPacketError):
        splitter.next()


def test_a_text_with_nul_is_not_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode(ChangeHeader(1, b"X", b"a\0b"))
