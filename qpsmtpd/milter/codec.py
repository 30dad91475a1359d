# SPDX-License-Identifier: MIT
"""The octets of the milter protocol: packets are written, cut out of what arrives, and read.

A packet is its length in four octets, a letter, and data.  There is no I/O here.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from qpsmtpd.milter.packets import (
    COMMANDS,
    REPLIES,
    AddRecipientWith,
    ChangeSender,
    Connect,
    Macros,
    Negotiate,
    Packet,
)

#: Octets of the longest packet that a milter may send; libmilter's have 64 KB, or 1 MB if asked.
MAX_PACKET = (1 << 20) + 1024

#: Octets of data in the longest packet that libmilter takes: what it gets is cut there.
MAX_DATA = 65535

_LENGTH = struct.Struct("!I")
_PORT = struct.Struct("!H")

T = TypeVar("T")


class BadPacketError(ValueError):
    """The octets are not a packet of the protocol; the text says why."""


def encode(packet: Packet) -> bytes:
    """The packet as it is sent.  Raises ValueError if a text contains NUL."""
    write = _WRITERS.get(type(packet), _write_fields)
    data = write(packet)
    return _LENGTH.pack(1 + len(data)) + packet.letter + data


def read_command(letter: bytes, data: bytes) -> Packet:
    """The command that a packet is.  Raises BadPacketError."""
    return _read(_BY_LETTER_OF_COMMANDS, letter, data)


def read_reply(letter: bytes, data: bytes) -> Packet:
    """The reply that a packet is.  Raises BadPacketError."""
    return _read(_BY_LETTER_OF_REPLIES, letter, data)


class Splitter:
    """Cuts what arrives into packets: the letter and the data of each."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether something has arrived that `next` has not returned."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._buffer += data

    def next(self) -> tuple[bytes, bytes] | None:
        """The next packet; None while it is incomplete.

        Raises BadPacketError for a length that no packet has, as soon as it is known.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 0 < length <= MAX_PACKET:
            raise BadPacketError(f"a packet of {length} octets")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        packet = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return packet[:1], packet[1:]


# --- writing ----------------------------------------------------------------------------------

#: Texts that fill their packet: Postfix does without their end.
_LAST_TEXTS = frozenset({"text", "reason"})

#: Fields that are neither a C string nor a number of four octets.
_RAW = frozenset({"chunk", "command", "family"})


def _write_fields(packet: Packet) -> bytes:
    return b"".join(
        _written(field.name, getattr(packet, field.name)) for field in dataclasses.fields(packet)
    )


def _written(name: str, value: Any) -> bytes:
    if isinstance(value, int):
        return _LENGTH.pack(value)
    if isinstance(value, tuple):
        return b"".join(map(_string, value))
    return bytes(value) if name in _RAW else _string(value)


def _string(text: bytes) -> bytes:
    if b"\0" in text:
        raise ValueError("a text contains NUL")
    return text + b"\0"


def _write_negotiation(packet: Any) -> bytes:
    wanted = (_LENGTH.pack(stage) + _string(names) for stage, names in packet.macros)
    numbers = (packet.version, packet.actions, packet.steps)
    return b"".join((*map(_LENGTH.pack, numbers), *wanted))


def _write_macros(packet: Any) -> bytes:
    return bytes(packet.command) + b"".join(
        _string(name) + _string(value) for name, value in packet.values
    )


def _write_connect(packet: Any) -> bytes:
    head = _string(packet.name) + bytes(packet.family)
    if packet.family == b"U":
        return head
    return head + _PORT.pack(packet.port) + _string(packet.address)


def _write_with(packet: Any) -> bytes:
    """Parameters that are empty are left out, as libmilter does."""
    parameters = _string(packet.parameters) if packet.parameters else b""
    return _string(packet.address) + parameters


_WRITERS: dict[type[Packet], Callable[[Any], bytes]] = {
    Negotiate: _write_negotiation,
    Macros: _write_macros,
    Connect: _write_connect,
    AddRecipientWith: _write_with,
    ChangeSender: _write_with,
}


# --- reading ----------------------------------------------------------------------------------


class _Cursor:
    """Reads data from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def string(self) -> bytes:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise BadPacketError("a text without its end")
        text, self._at = self._data[self._at : end], end + 1
        return text

    def strings(self) -> tuple[bytes, ...]:
        texts = []
        while self.more:
            texts.append(self.string())
        return tuple(texts)

    def number(self, kind: struct.Struct = _LENGTH) -> int:
        (value,) = kind.unpack(self.octets(kind.size))
        return int(value)

    def octets(self, count: int) -> bytes:
        octets = self._data[self._at : self._at + count]
        if len(octets) < count:
            raise BadPacketError("too short")
        self._at += count
        return octets

    def rest(self) -> bytes:
        rest, self._at = self._data[self._at :], len(self._data)
        return rest


def _read(kinds: dict[bytes, type[Packet]], letter: bytes, data: bytes) -> Packet:
    kind = kinds.get(letter)
    if kind is None:
        raise BadPacketError(f"a packet {letter!r}, which is not known")
    cursor = _Cursor(data)
    try:
        packet = _READERS[kind](cursor)
    except BadPacketError as error:
        raise BadPacketError(f"{kind.__name__}: {error}") from None
    if cursor.more:
        raise BadPacketError(f"{kind.__name__}: more data than belongs to it")
    return packet


def _reader(kind: type[Packet]) -> Callable[[_Cursor], Packet]:
    """Reads the fields of a packet that has them one after the other."""
    fields = tuple(_FIELDS.get(field.name, _Cursor.string) for field in dataclasses.fields(kind))

    def read(cursor: _Cursor) -> Packet:
        return kind(*[field(cursor) for field in fields])

    return read


def _last_text(cursor: _Cursor) -> bytes:
    return cursor.rest().partition(b"\0")[0]


def _parameters(cursor: _Cursor) -> bytes:
    return cursor.string() if cursor.more else b""


#: How fields are read that are not C strings.
_FIELDS: dict[str, Callable[[_Cursor], Any]] = {
    "chunk": _Cursor.rest,
    "words": _Cursor.strings,
    "index": _Cursor.number,
    "parameters": _parameters,
    **dict.fromkeys(_LAST_TEXTS, _last_text),
}


def _read_negotiation(cursor: _Cursor) -> Packet:
    version, actions, steps = cursor.number(), cursor.number(), cursor.number()
    wanted = []
    while cursor.more:
        wanted.append((cursor.number(), cursor.string()))
    return Negotiate(version, actions, steps, tuple(wanted))


def _read_macros(cursor: _Cursor) -> Packet:
    command, texts = cursor.octets(1), cursor.strings()
    if len(texts) % 2:
        raise BadPacketError("a name without its value")
    return Macros(command, tuple(_pairs(texts)))


def _pairs(texts: Sequence[T]) -> Iterator[tuple[T, T]]:
    return zip(texts[::2], texts[1::2], strict=True)


def _read_connect(cursor: _Cursor) -> Packet:
    name, family = cursor.string(), cursor.octets(1)
    if family == b"U":
        return Connect(name, family)
    return Connect(name, family, cursor.number(_PORT), cursor.string())


_READERS: dict[type[Packet], Callable[[_Cursor], Packet]] = {
    **{kind: _reader(kind) for kind in (*COMMANDS, *REPLIES)},
    Negotiate: _read_negotiation,
    Macros: _read_macros,
    Connect: _read_connect,
}
_BY_LETTER_OF_COMMANDS = {kind.letter: kind for kind in COMMANDS}
_BY_LETTER_OF_REPLIES = {kind.letter: kind for kind in REPLIES}
