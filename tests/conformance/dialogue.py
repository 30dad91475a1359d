# SPDX-License-Identifier: MIT
"""What is said to both servers: cases of dialogues of steps, and the client that holds them.

The client notes for each step what the server did, in a word that can be compared: the class of
the reply (`2xx`), perhaps with its enhanced status (`2xx 2.1.0`), several of them, `closed`, or
`silent`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from qpsmtpd.testing import Records

REPLY_TIMEOUT = 10.0  # seconds; both servers answer at once, but for tests with a clock
KEYWORDS_EVERYBODY_HAS = frozenset({"PIPELINING", "8BITMIME"})

_status = re.compile(r"\d\d\d[ -](\d\.\d{1,3}\.\d{1,3}) ").match


@dataclass(frozen=True)
class Send:
    """Send octets as they are, then read that many replies.

    end: then close the sending half, and read until the server closes.
    label: how differences.md and the report name this step; by default what is sent.
    timeout: seconds until a server is called silent.
    """

    data: bytes
    replies: int = 1
    end: bool = False
    label: str = ""
    timeout: float = REPLY_TIMEOUT


@dataclass(frozen=True)
class Respond:
    """Send the line that an earlier reply asks for, and read one reply."""

    to: Callable[[str], str]
    label: str


@dataclass(frozen=True)
class Keywords:
    """Note what the reply to EHLO offers beyond PIPELINING and 8BITMIME; sends nothing."""

    label: str = "EHLO keywords"


@dataclass(frozen=True)
class StartTls:
    """The TLS handshake; notes whether it succeeded."""

    label: str = "TLS"


Step = str | Send | Respond | Keywords | StartTls
"""A string is a line: CRLF is added, one reply read."""


@dataclass(frozen=True)
class Dialogue:
    """One connection; QUIT at its end shows whether it is still open.

    client: the address that it comes from.
    early: sent before the greeting is read.
    """

    name: str
    steps: Sequence[Step] = ()
    client: str = "127.0.0.1"
    early: bytes = b""


@dataclass(frozen=True)
class Case:
    """One configuration, and what is tried with it.

    In files, @MAIL@ is the server's Maildir, @CONFIG@ the directory of the configuration, and
    @PORT@ the port of a next hop on 127.0.0.1.
    """

    name: str
    files: Mapping[str, Sequence[str]]
    dialogues: Sequence[Dialogue]
    dns: Records = field(default_factory=dict)


Noted = list[tuple[str, str]]
"""What a server did: labels of steps, and what came."""


def in_class(reply: str) -> str:
    """What is compared of a reply: its class."""
    return f"{reply[0]}xx"


def in_class_and_status(reply: str) -> str:
    """What is compared of a reply: its class, and its enhanced status (RFC 2034) if it has one."""
    found = _status(reply)
    return f"{in_class(reply)} {found[1]}" if found else in_class(reply)


async def hold(dialogue: Dialogue, port: int, word: Callable[[str], str] = in_class) -> Noted:
    """Hold the dialogue with the server on that port of 127.0.0.1.

    word: what is noted of a reply.
    """
    async with asyncio.timeout(REPLY_TIMEOUT):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(dialogue.client, 0)
        )
    client = _Client(reader, writer, word)
    try:
        await client.run(Send(dialogue.early, label="greeting"))
        for step in (*dialogue.steps, "QUIT"):
            if not client.over:
                await client.run(step)
    finally:
        writer.transport.abort()
    return client.noted


class _Client:
    """One connection to a server under test."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        word: Callable[[str], str],
    ) -> None:
        self.noted: Noted = []
        self.over = False
        self._word = word
        self._reader = reader
        self._writer = writer
        self._last_reply = ""
        self._times: Counter[str] = Counter()

    async def run(self, step: Step) -> None:
        """Do one step and note what came."""
        match step:
            case Keywords():
                outcome = " ".join(_keywords(self._last_reply)) or "none"
                self._note(step.label, outcome)
            case StartTls():
                self._note(step.label, await self._start_tls())
            case Respond():
                line = f"{step.to(self._last_reply)}\r\n".encode()
                await self._send(Send(line, label=step.label))
            case Send():
                await self._send(step)
            case _:
                await self._send(
                    Send(f"{step}\r\n".encode(), label="" if step else "an empty line")
                )

    async def _send(self, step: Send) -> None:
        with suppress(ConnectionError):
            self._writer.write(step.data)
            if step.end:
                self._writer.write_eof()
        wanted = 1000 if step.end else step.replies
        seen: list[str] = []
        while len(seen) < wanted and not self.over:
            seen.append(await self._outcome(step.timeout))
        self._note(step.label or _label(step.data), " ".join(seen))

    async def _start_tls(self) -> str:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await self._writer.start_tls(context)
        except OSError:  # TimeoutError and SSLError are such
            self.over = True
            return "failed"
        return "started"

    async def _outcome(self, timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout):
                self._last_reply = await self._read_reply()
        except TimeoutError:
            self.over = True
            return "silent"
        except (asyncio.IncompleteReadError, ConnectionError):
            self.over = True
            return "closed"
        return self._word(self._last_reply)

    async def _read_reply(self) -> str:
        lines = [await self._reader.readuntil(b"\n")]
        while lines[-1][3:4] == b"-":
            lines.append(await self._reader.readuntil(b"\n"))
        return b"".join(lines).decode("latin-1")

    def _note(self, label: str, outcome: str) -> None:
        self._times[label] += 1
        times = self._times[label]
        self.noted.append((label if times == 1 else f"{label} ({times})", outcome))


def _keywords(reply: str) -> list[str]:
    names = {line[4:].split()[0] for line in reply.splitlines()[1:]}
    return sorted(names - KEYWORDS_EVERYBODY_HAS)


def _label(data: bytes) -> str:
    line = data.removesuffix(b"\r\n")
    return printable(data if b"\n" in line or line == data else line)


def printable(data: bytes, longest: int = 60) -> str:
    """Octets on one line, shortened, and escaped where a table of Markdown cannot hold them."""
    text = data.decode("latin-1").encode("unicode_escape").decode()
    text = text.replace("|", "\\x7c").replace("`", "\\x60")
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def printable_text(data: bytes) -> str:
    """A part of a message on one line; a long one is shortened, its check sum added."""
    text = printable(data, 500)
    return f"{text} ({len(data)} octets, {zlib.crc32(data):08x})" if text.endswith("...") else text
