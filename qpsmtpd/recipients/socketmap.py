# SPDX-License-Identifier: MIT
"""socketmap: Postfix's protocol of tables that are servers (socketmap_table(5)), as a client.

Both sides send netstrings (https://cr.yp.to/proto/netstrings.txt).  A request is the name of a map,
a space and a key; a reply begins with OK, NOTFOUND, TEMP, TIMEOUT or PERM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.plugin.place import Place
from qpsmtpd.recipients.table import TableKey
from qpsmtpd.scanners.wire import ScannerError, ScannerWire, connect

#: Octets of a reply (Postfix: socketmap_max_reply_size).
MAX_REPLY = 100_000

#: Characters of a server's words that go to the log.
_MOST_WORDS = 200

_is_length = re.compile(rb"0|[1-9][0-9]{0,8}").fullmatch


@dataclass(frozen=True)
class SocketMap:
    """A map of a server.  Every recipient has a connection of its own, as with scanners."""

    place: Place
    name: str

    def __str__(self) -> str:
        return f"{self.place} {self.name}"

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Raises ScannerError."""
        wire = await connect(self.place)
        try:
            for key in keys:
                if await ask(wire, self.name, key.address):
                    return True
            return False
        finally:
            wire.abort()

    async def close(self) -> None:
        """Nothing stays open."""


async def ask(wire: ScannerWire, name: str, key: str) -> bool:
    """Whether a map has a key.  Raises ScannerError."""
    if not await wire.send(netstring(f"{name} {key}".encode("utf-8", "surrogateescape"))):
        raise ScannerError("speaks out of turn")
    return parse_reply(await read_netstring(wire))


def netstring(octets: bytes) -> bytes:
    """Octets with their length before them, and a comma behind."""
    return b"%d:%s," % (len(octets), octets)


async def read_netstring(wire: ScannerWire) -> bytes:
    """The octets of a netstring.  Raises ScannerError."""
    length = parse_length(await wire.read_until(b":", len(str(MAX_REPLY))))
    octets = await wire.read_exactly(length + 1)
    if not octets.endswith(b","):
        raise ScannerError("does not speak the protocol of socketmap")
    return octets[:-1]


def parse_length(octets: bytes) -> int:
    """The length that a netstring begins with.  Raises ScannerError."""
    if not _is_length(octets):
        raise ScannerError("does not speak the protocol of socketmap")
    if int(octets) > MAX_REPLY:
        raise ScannerError("its reply is too long")
    return int(octets)


def parse_reply(octets: bytes) -> bool:
    """Whether a reply says that the key is there.  Raises ScannerError if it says neither."""
    word, _, rest = octets.partition(b" ")
    if word == b"OK":
        return True
    if word == b"NOTFOUND":
        return False
    if word in (b"TEMP", b"TIMEOUT", b"PERM"):
        words = printable_ascii(rest[:_MOST_WORDS].decode("latin-1"), _MOST_WORDS)
        raise ScannerError(f"says {word.decode()} {words!r}")
    raise ScannerError("does not speak the protocol of socketmap")
