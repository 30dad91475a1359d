# SPDX-License-Identifier: MIT
"""ident/p0f: ask p0f what system a client runs.

    ident/p0f [/run/p0f.sock] [smite_os REGEX] [add_headers no]

p0f (version 3) watches the packets of connections, and guesses from them what system the other end
runs, how far away it is and how it is connected. It has to run with `-s` and the path of a socket
that the daemon may write to, on the machine to which clients connect: behind a proxy, it sees the
proxy.

What it says is in the note `p0f` for other plugins, a mapping with `genre` (such as "Windows XP"),
`link`, `distance` (hops), `uptime` (minutes) and the names of p0f itself; the option `p0f` of
greylisting goes by it. A message gets the fields X-P0F-Genre and X-P0F-Link-Type, in place of any
that it has, unless `add_headers` is no.

A client whose genre matches the expression `smite_os` loses a point of karma. At RCPT, clients are
refused with 550 5.7.1 whose genre is in the file `p0f_blocked_operating_systems`: phrases that are
all of it, or regular expressions between slashes. Exempt clients are not.

If p0f does not answer within two seconds, or says nothing sensible, nothing is known about the
client; then it is left alone for half a minute.

Differences from the Perl version: IPv6 clients are looked up. `version 2` and `local_ip` have no
effect: p0f 2 is gone.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qpsmtpd.api import (
    ConfigError,
    Finding,
    IPAddress,
    Note,
    Plugin,
    Recipient,
    Session,
    System,
    Transaction,
    Verdict,
    compile_pattern,
    deny,
    opt,
    printable_ascii,
    read_each,
)

#: What p0f says about the client.
P0F = Note[Mapping[str, Any]]("p0f")

#: Seconds for an answer, and without questions after none came.
TIMEOUT = 2.0
PAUSE = 30.0

#: The socket API of p0f 3 (its README, section 6): in the byte order of the machine.
_QUERY = struct.Struct("=IB16s")
_QUERY_MAGIC = 0x50304601
_ANSWER = struct.Struct("=9Ih2B32s32s32s32s32s32s")
_ANSWER_MAGIC = 0x50304602
_OK, _NO_MATCH = 0x10, 0x20
_NAMES = (
    *("first_seen", "last_seen", "total_conn", "uptime_min", "up_mod_days", "last_nat"),
    *("last_chg", "distance", "bad_sw", "os_match_q", "os_name", "os_flavor", "http_name"),
    *("http_flavor", "link_type", "language"),
)


def parse_expression(text: str) -> None:
    """Check a regular expression.  Raises a ValueError that says what would be right."""
    try:
        compile_pattern(text, "")
    except ConfigError as error:
        raise ValueError(f"a regular expression: {error.problem}") from None


@dataclass(frozen=True, kw_only=True)
class P0fOptions:
    """Options of ident/p0f."""

    socket: Path = opt(
        Path("/run/p0f.sock"), positional=True, doc="The socket of p0f (its option -s)."
    )
    version: Literal["2", "3"] = opt("3", doc="The version of p0f; 2 has no effect.")
    local_ip: str = opt("", doc="Has no effect.")
    smite_os: str = opt("", doc="An expression: clients whose system matches it lose karma.")
    add_headers: bool = opt(True, doc="Whether messages get header fields.")

    def check(self) -> Iterator[str]:
        try:
            parse_expression(self.smite_os)
        except ValueError as error:
            yield f"smite_os: {self.smite_os!r} is not {error}"


class P0f(Plugin[P0fOptions]):
    """Asks p0f about each client."""

    files = {"p0f_blocked_operating_systems": "Systems whose clients are refused."}

    async def start(self) -> None:
        entries = await self.services.config.entries("p0f_blocked_operating_systems")
        expressions = [e for e in entries if len(e.text) > 2 and e.text[0] == e.text[-1] == "/"]
        self._phrases = frozenset(e.text for e in entries if e not in expressions)
        self._blocked = read_each(expressions, lambda e: compile_pattern(e.text, e.where))
        self._smitten = compile_pattern(self.options.smite_os, self.name)
        self._pause_ends = 0.0
        if self.options.version == "2":
            self.services.config.warn("", "only p0f 3 can be asked: nothing is done")

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the socket of p0f is there, and may be written to."""
        path = str(self.options.socket)
        if not system.exists(path):
            advice = "Start p0f with -s and this path."
            yield Finding.warning(f"p0f {path}", "there is no such socket", advice)
        elif obstacle := system.obstacle(path, 2):
            yield Finding.warning(f"p0f {path}", f"the daemon may not write to it: {obstacle}")
        else:
            yield Finding.ok(f"p0f {path}", "the socket is there")

    async def hook_connect(self, session: Session) -> Verdict | None:
        if self.options.version == "2" or self.services.clock.monotonic() < self._pause_ends:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await self._ask(session.client_address)
        except (OSError, EOFError, ValueError) as error:
            self._pause_ends = self.services.clock.monotonic() + PAUSE
            self.log.warning("not asked for %gs: %s", PAUSE, str(error) or "no answer in time")
            return None
        if not found:
            return None
        session.notes[P0F] = found
        self.log_about(session, "genre=%r link=%r", found["genre"], found["link"])
        if self.options.smite_os and self._smitten.search(found["genre"]):
            session.adjust_karma(-1)
        return None

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        found = tx.session.notes.get(P0F)
        if found is None or self.immune(tx.session):
            return None
        genre = found["genre"]
        if genre in self._phrases or any(pattern.search(genre) for pattern in self._blocked):
            return deny("OS Blocked", status="5.7.1", reason=f"genre={genre!r}")
        return None

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        found = tx.session.notes.get(P0F)
        if found is None or not self.options.add_headers or tx.message is None:
            return None
        for name, key in (("X-P0F-Link-Type", "link"), ("X-P0F-Genre", "genre")):
            tx.message.headers.remove(name)
            if found[key]:
                tx.message.headers.prepend(name, found[key])
        return None

    async def _ask(self, address: IPAddress) -> Mapping[str, Any]:
        """What p0f knows of an address; empty if nothing.  Raises OSError, EOFError, ValueError."""
        reader, writer = await asyncio.open_unix_connection(self.options.socket)
        try:
            writer.write(query_about(address))
            return read_answer(await reader.readexactly(_ANSWER.size))
        finally:
            writer.close()


def query_about(address: IPAddress) -> bytes:
    """The question about an address."""
    return _QUERY.pack(_QUERY_MAGIC, address.version, address.packed)


def read_answer(octets: bytes) -> Mapping[str, Any]:
    """What an answer says; empty if p0f does not know the address.  Raises ValueError."""
    magic, status, *values = _ANSWER.unpack(octets)
    if magic != _ANSWER_MAGIC or status not in (_OK, _NO_MATCH):
        raise ValueError(f"strange answer (magic {magic:#x}, status {status:#x})")
    if status == _NO_MATCH:
        return {}
    found = {name: _read(value) for name, value in zip(_NAMES, values, strict=True)}
    genre = f"{found['os_name']} {found['os_flavor']}".strip()
    return {
        **found,
        "genre": genre,
        "link": found["link_type"],
        "uptime": found["uptime_min"],
    }


def _read(value: int | bytes) -> int | str:
    """A number, or a text as far as its first NUL."""
    if isinstance(value, int):
        return value
    return printable_ascii(value.partition(b"\0")[0].decode("latin-1"))
