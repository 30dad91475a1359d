# SPDX-License-Identifier: MIT
"""The packets of the milter protocol as values, both ways, without any I/O.

A packet is a length of four octets, a letter, and data.  What we say to a milter and what it says
are distinct sets of letters, so `commands` and `replies` read them apart.  The facts are those of
libmilter's mfdef.h; all text is octets, as the protocol names no character set.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

#: Octets of the longest packet that a milter may send; libmilter's have 64 KB, or 1 MB if asked.
MAX_PACKET = (1 << 20) + 1024

#: Octets of data in the longest packet that libmilter takes: what it gets is cut there.
MAX_DATA = 65535

_LENGTH = struct.Struct("!I")
_PORT = struct.Struct("!H")

T = TypeVar("T")


class BadPacketError(ValueError):
    """The octets are not a packet of the protocol; the text says why."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.  Each kind has its letter, and its fields in the order in which they are sent."""

    letter: ClassVar[bytes]


# --- what we say ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Negotiate(Packet):
    """What either side can do: the first packet of both.

    actions, steps: bits, see negotiation.py.  macros: the names that the milter wants, by stage.
    """

    letter = b"O"
    version: int
    actions: int
    steps: int
    macros: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Macros(Packet):
    """Values that belong to the next command, whose letter is `command`."""

    letter = b"D"
    command: bytes
    values: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Connect(Packet):
    """A client has connected.  family: b"4", b"6", b"L" (a Unix socket), or b"U" without more."""

    letter = b"C"
    name: bytes
    family: bytes
    port: int = 0
    address: bytes = b""


@dataclass(frozen=True, slots=True)
class Helo(Packet):
    """HELO or EHLO."""

    letter = b"H"
    name: bytes


@dataclass(frozen=True, slots=True)
class Mail(Packet):
    """MAIL: the reverse-path with its brackets, and the parameters."""

    letter = b"M"
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rcpt(Packet):
    """RCPT: the forward-path with its brackets, and the parameters."""

    letter = b"R"
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Data(Packet):
    """DATA, since version 4."""

    letter = b"T"


@dataclass(frozen=True, slots=True)
class Header(Packet):
    """A header field; the lines of its value end with LF."""

    letter = b"L"
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class EndOfHeaders(Packet):
    """There are no more header fields."""

    letter = b"N"


@dataclass(frozen=True, slots=True)
class Body(Packet):
    """A chunk of the body; lines end with CRLF, but a chunk may end anywhere."""

    letter = b"B"
    chunk: bytes


@dataclass(frozen=True, slots=True)
class EndOfMessage(Packet):
    """The message is complete; now the milter may change it."""

    letter = b"E"
    chunk: bytes = b""


@dataclass(frozen=True, slots=True)
class Unknown(Packet):
    """A command that is not one of SMTP, since version 3."""

    letter = b"U"
    line: bytes


@dataclass(frozen=True, slots=True)
class Abort(Packet):
    """Forget the message; the client stays."""

    letter = b"A"


@dataclass(frozen=True, slots=True)
class Quit(Packet):
    """The client has left, and the connection ends."""

    letter = b"Q"


@dataclass(frozen=True, slots=True)
class QuitNewClient(Packet):
    """The client has left, and another one follows on this connection, since version 6."""

    letter = b"K"


# --- what a milter says -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Continue(Packet):
    """Go on."""

    letter = b"c"


@dataclass(frozen=True, slots=True)
class Accept(Packet):
    """Take the message, or all of this client; it need not be told anything more."""

    letter = b"a"


@dataclass(frozen=True, slots=True)
class Reject(Packet):
    """Refuse for good."""

    letter = b"r"


@dataclass(frozen=True, slots=True)
class Tempfail(Packet):
    """Refuse for now."""

    letter = b"t"


@dataclass(frozen=True, slots=True)
class Discard(Packet):
    """Tell the client that the message was taken, and drop it."""

    letter = b"d"


@dataclass(frozen=True, slots=True)
class Skip(Packet):
    """Send no more of this kind, since version 6."""

    letter = b"s"


@dataclass(frozen=True, slots=True)
class Progress(Packet):
    """It is still at work."""

    letter = b"p"


@dataclass(frozen=True, slots=True)
class Shutdown(Packet):
    """Refuse with 421, and close the client's connection."""

    letter = b"4"


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Packet):
    """Do as if the milter had not been reached."""

    letter = b"f"


@dataclass(frozen=True, slots=True)
class ReplyCode(Packet):
    """Refuse with this reply: code, perhaps an enhanced status code, text."""

    letter = b"y"
    text: bytes


@dataclass(frozen=True, slots=True)
class AddHeader(Packet):
    """Put a field below all others."""

    letter = b"h"
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertHeader(Packet):
    """Put a field at a place among all fields, where 0 is the top."""

    letter = b"i"
    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader(Packet):
    """Give the n-th field of this name another value; an empty one removes it."""

    letter = b"m"
    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient(Packet):
    """Add a recipient."""

    letter = b"+"
    address: bytes


@dataclass(frozen=True, slots=True)
class AddRecipientWith(Packet):
    """Add a recipient with parameters of RCPT."""

    letter = b"2"
    address: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecipient(Packet):
    """Remove a recipient."""

    letter = b"-"
    address: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender(Packet):
    """Replace the reverse-path, perhaps with parameters of MAIL."""

    letter = b"e"
    address: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class ReplaceBody(Packet):
    """The next chunk of another body."""

    letter = b"b"
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Quarantine(Packet):
    """Keep the message aside, for this reason."""

    letter = b"q"
    reason: bytes


COMMANDS: tuple[type[Packet], ...] = (
    Negotiate,
    Macros,
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Header,
    EndOfHeaders,
    Body,
    EndOfMessage,
    Unknown,
    Abort,
    Quit,
    QuitNewClient,
)
REPLIES: tuple[type[Packet], ...] = (
    Negotiate,
    Continue,
    Accept,
    Reject,
    Tempfail,
    Discard,
    Skip,
    Progress,
    Shutdown,
    ConnectionFailed,
    ReplyCode,
    AddHeader,
    InsertHeader,
    ChangeHeader,
    AddRecipient,
    AddRecipientWith,
    DeleteRecipient,
    ChangeSender,
    ReplaceBody,
    Quarantine,
)


# --- octets -----------------------------------------------------------------------------------


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
        packet = _READERS.get(kind, _reader(kind))(cursor)
    except BadPacketError as error:
        raise BadPacketError(f"{kind.__name__}: {error}") from None
    if cursor.more:
        raise BadPacketError(f"{kind.__name__}: more data than belongs to it")
    return packet


def _reader(kind: type[Packet]) -> Callable[[_Cursor], Packet]:
    """Reads the fields of a packet that has them one after the other."""

    def read(cursor: _Cursor) -> Packet:
        values = {field.name: _field(field, cursor) for field in dataclasses.fields(kind)}
        return kind(**values)

    return read


def _field(field: dataclasses.Field[Any], cursor: _Cursor) -> Any:
    if field.name == "chunk":
        return cursor.rest()
    if field.name == "words":
        return cursor.strings()
    if field.name == "index":
        return cursor.number()
    if field.name == "parameters":
        return cursor.string() if cursor.more else b""
    if field.name in _LAST_TEXTS:
        return cursor.rest().partition(b"\0")[0]
    return cursor.string()


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
    Negotiate: _read_negotiation,
    Macros: _read_macros,
    Connect: _read_connect,
}
_BY_LETTER_OF_COMMANDS = {kind.letter: kind for kind in COMMANDS}
_BY_LETTER_OF_REPLIES = {kind.letter: kind for kind in REPLIES}
