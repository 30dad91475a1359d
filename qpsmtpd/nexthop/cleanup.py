# SPDX-License-Identifier: MIT
"""A client of Postfix's cleanup(8), the daemon that puts messages into Postfix's queue.

    connect → flags → envelope records → `M` → content records → `X` `E` → status

A record is a type octet, the length in base 128 (low digits first, the high bit says that more
follow), and the data.  Attributes are `name\\0value\\0` pairs; an empty name ends them.  cleanup
begins with the attribute queue_id and ends with status (bits, 0 is success) and reason.  Only
that status says whether Postfix has taken the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail import dsn
from qpsmtpd.mail.address import ReversePath, decode_xtext
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.plugin.place import parse_place
from qpsmtpd.plugin.timelimit import time_limit

#: Bytes of one content record; longer lines go in several.
CHUNK = 1024

#: At most this many attributes in a group; Postfix sends two or three.
_MOST_ATTRIBUTES = 50

#: The bits that stand for the parameters RET and NOTIFY of DSN.
_RET = {"FULL": "1", "HDRS": "2"}
_NOTIFY = {"NEVER": 1, "SUCCESS": 2, "FAILURE": 4, "DELAY": 8}

#: Characters of each thing we say about the client.
_LONGEST_VALUE = 255


class CleanupFlag(enum.IntFlag):
    """What cleanup should do, named as in the arguments of the plugin."""

    FLAG_NONE = 0
    FLAG_BOUNCE = 1
    FLAG_FILTER = 2
    FLAG_HOLD = 4
    FLAG_DISCARD = 8
    FLAG_BCC_OK = 16
    FLAG_MAP_OK = 32
    FLAG_MILTER = 64
    FLAG_SMTPUTF8 = 256
    FLAG_AUTOUTF8 = 512
    FLAG_FILTER_ALL = 66
    FLAG_MASK_EXTERNAL = 114
    FLAG_MASK_INTERNAL = 32
    FLAG_MASK_EXTRA = 12


class CleanupStatus(enum.IntFlag):
    """Why cleanup did not take a message; several bits may be set."""

    BAD = 1
    WRITE = 2
    SIZE = 4
    CONTENT = 8
    HOPS = 16
    RECIPIENTS = 64
    PROXY = 128
    DEFER = 256
    POLICY = 512


class CleanupError(QpsmtpdError):
    """cleanup cannot be reached, broke off, or does not speak its protocol: no outcome."""


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What became of the message.

    status: 0 is success.  reason: cleanup's words, perhaps after an enhanced status code.
    """

    status: CleanupStatus
    reason: str
    queue_id: str


class Cleanup:
    """One connection, for one message.  Use it as a context manager; it closes the connection.

    Every wait takes at most `timeout` seconds.  The methods raise CleanupError.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout

    @classmethod
    async def connect(cls, address: str, timeout: float) -> Self:
        """Connect to a place.  Raises ValueError as `parse_place` does."""
        place = parse_place(address)
        with _errors(f"cannot connect to {address}"), time_limit(timeout):
            if place.path:
                return cls(*await asyncio.open_unix_connection(place.path), timeout)
            return cls(*await asyncio.open_connection(place.host, place.port), timeout)

    async def submit(self, tx: Transaction, flags: CleanupFlag) -> CleanupResult:
        """Hand the message of the transaction over."""
        assert tx.message is not None
        with _errors("cleanup broke off"):
            queue_id = (await self._attributes()).get("queue_id", "")
            if _needs_utf8(tx):
                flags |= CleanupFlag.FLAG_SMTPUTF8
            await self._write(b"flags\0%d\0\0" % flags + envelope_records(tx, int(time.time())))
            encoder = ContentEncoder()
            async for block in tx.message.stream():
                await self._write(encoder.feed(block))
            await self._write(encoder.end() + record(b"X") + record(b"E"))
            for recipient in tx.recipients:
                # Postfix sends the notices.
                recipient.success = "none"
            return _result(await self._attributes(), queue_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing without `E` makes cleanup remove the message.
        self._writer.transport.abort()
        with contextlib.suppress(OSError), time_limit(self._timeout):
            await self._writer.wait_closed()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        with time_limit(self._timeout):
            await self._writer.drain()

    async def _attributes(self) -> dict[str, str]:
        attributes: dict[str, str] = {}
        with time_limit(self._timeout):
            for _ in range(_MOST_ATTRIBUTES):
                name = await self._word()
                if not name:
                    return attributes
                attributes[name] = await self._word()
        raise CleanupError("cleanup sends endless attributes")

    async def _word(self) -> str:
        return (await self._reader.readuntil(b"\0"))[:-1].decode("utf-8", "replace")


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn everything that can happen to a connection into a CleanupError."""
    try:
        yield
    except TimeoutError:
        raise CleanupError(f"{what}: timed out") from None
    except (OSError, EOFError, asyncio.LimitOverrunError, UnicodeError) as error:
        raise CleanupError(f"{what}: {error}") from error


def _result(attributes: dict[str, str], queue_id: str) -> CleanupResult:
    try:
        status = CleanupStatus(int(attributes["status"]))
    except (KeyError, ValueError):
        raise CleanupError(f"cleanup gave no status: {attributes!r}") from None
    return CleanupResult(status, attributes.get("reason", ""), queue_id)


# --- records --------------------------------------------------------------------------------


def record(kind: bytes, data: bytes = b"") -> bytes:
    """One record."""
    return kind + _length(len(data)) + data


@functools.lru_cache(maxsize=CHUNK + 1)
def _length(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


#: The beginning of a content record, by the length of its line.
_LINE = tuple(b"N" + _length(number) for number in range(CHUNK + 1))


class ContentEncoder:
    """Turns the blocks of a message, CRLF line ends, into content records."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> bytes:
        """The records of the lines that are complete now."""
        lines = (self._rest + block).split(b"\r\n")
        self._rest = lines.pop()
        parts: list[bytes] = []
        if max(map(len, lines), default=0) <= CHUNK:
            beginnings = map(_LINE.__getitem__, map(len, lines))
            parts += itertools.chain.from_iterable(zip(beginnings, lines, strict=True))
        else:
            for line in lines:
                last = _long_records(parts, line)
                parts += (_LINE[len(last)], last)
        self._rest = _long_records(parts, self._rest)
        return b"".join(parts)

    def end(self) -> bytes:
        """The record of a last line that has no line end."""
        return record(b"N", self._rest) if self._rest else b""


def _long_records(parts: list[bytes], line: bytes) -> bytes:
    """Append what does not fit into one record; return the rest, at least one octet."""
    position = 0
    while len(line) - position > CHUNK:
        parts.append(record(b"L", line[position : position + CHUNK]))
        position += CHUNK
    return line[position:]


def envelope_records(tx: Transaction, now: int) -> bytes:
    """The records from the time to the start of the content.

    The attributes are those that Postfix's own SMTP server sends: they appear in its log lines
    about refused content, and milters are asked about them.
    """
    records = [record(b"T", b"%d" % now)]
    records += [
        record(b"A", f"{name}={_printable(value)}".encode())
        for name, value in _attributes(tx)
        if value
    ]
    records.append(record(b"S", _internal(tx.reverse_path)))
    for recipient in tx.recipients:
        # What is said of a recipient comes before it.
        records += [record(b"A", attribute.encode()) for attribute in _wishes(recipient)]
        records.append(record(b"R", _internal(recipient.address)))
    records.append(record(b"M"))
    return b"".join(records)


def _internal(address: ReversePath) -> bytes:
    """An address as Postfix stores it: the local part is not quoted."""
    return b"" if address is None else address.unquoted.encode()


def _wishes(recipient: Recipient) -> Iterator[str]:
    """The parameters of DSN of a recipient (RFC 3461), as Postfix's own SMTP server passes them."""
    if notify := recipient.parameters.get("NOTIFY"):
        yield f"notify_flags={sum(_NOTIFY[reason] for reason in set(notify.upper().split(',')))}"
    if original := recipient.parameters.get("ORCPT"):
        kind, _, address = original.partition(";")
        yield f"dsn_orig_rcpt={kind};{dsn.decoded(address)}"


def _attributes(tx: Transaction) -> Iterator[tuple[str, str]]:
    session = tx.session
    # Postfix and milters expect a name that a lookup of its addresses confirms.
    name = session.client_name or "unknown"
    protocol = "ESMTP" if session.hello == "ehlo" else "SMTP"
    # "remote": Postfix does not complete the addresses in the header of foreign mail.
    yield "envelope_id", decode_xtext(tx.mail_parameters.get("ENVID") or "")
    yield "ret_flags", _RET.get((tx.mail_parameters.get("RET") or "").upper(), "")
    yield "rewrite_context", "local" if session.relay_client else "remote"
    yield "encoding", {"8BITMIME": "8bit", "7BIT": "7bit"}.get(tx.body_type, "")
    yield "sasl_method", session.auth_mechanism
    yield "sasl_username", session.auth_user
    yield "log_client_name", name
    yield "log_client_address", session.client.ip
    yield "log_client_port", str(session.client.port)
    yield "log_message_origin", f"{name}[{session.client.ip}]"
    yield "log_helo_name", session.hello_host
    yield "log_protocol_name", protocol
    yield "client_name", name
    yield "reverse_client_name", session.reverse_name or "unknown"
    yield "client_address", session.client.ip
    yield "client_port", str(session.client.port)
    yield "helo_name", session.hello_host
    yield "protocol_name", protocol
    yield "client_address_type", "10" if ":" in session.client.ip else "2"


def _printable(value: str) -> str:
    value = value[:_LONGEST_VALUE]
    if value.isprintable():  # as nearly all are
        return value
    return "".join(c if c.isprintable() else "?" for c in value)


def _needs_utf8(tx: Transaction) -> bool:
    addresses = [recipient.address for recipient in tx.recipients]
    if tx.reverse_path is not None:
        addresses.append(tx.reverse_path)
    return tx.utf8 or not all(address.is_ascii for address in addresses)
