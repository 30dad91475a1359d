# SPDX-License-Identifier: MIT
"""A steady stream of clients, and the account of what became of every one of their messages.

Needs nothing but the standard library, so that it runs in a booted guest too.  Every message has
an id of its own.  A client that is told 421 comes again, as the RFC has it; one that is refused,
cut off, or answered what no client should hear is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

#: Messages that are measured for each event, at least.
MESSAGES = 500
#: Clients at the same time.
CLIENTS = 8
#: Seconds without a reply after which a client complains; RFC 5321 section 4.5.3.2 says minutes.
PATIENCE = 110.0
#: Messages of one session, in turn.
IN_ONE_SESSION = (1, 4, 1, 2)
#: Octets of their bodies, in turn: in one block, in several, larger than the socket's buffer.
SIZES = (200, 4_000, 200, 70_000)

_ID = re.compile(rb"^X-Continuity: ([-\w]+)\r?$", re.MULTILINE)
_WORKER = re.compile(r"XPID (\d+)")


@dataclass(frozen=True)
class Door:
    """Where to connect, and when TLS begins there."""

    host: str
    port: int
    tls: Literal["never", "starttls", "from the start"] = "never"


class GoneError(Exception):
    """The connection ended where a reply was due."""


class AnswerError(Exception):
    """A reply that was not hoped for."""


@dataclass
class Session:
    """What a client knows of its connection."""

    epoch: int  # of the stream, when it began to connect
    worker: int | None = None  # process id, if the EHLO reply has the keyword XPID
    certificate: bytes | None = None
    sent: str | None = None  # id of the message whose end was sent and not answered yet


@dataclass
class Tally:
    """What the clients saw."""

    accepted: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    cut: list[Session] = field(default_factory=list)
    refused: int = 0
    told: int = 0
    unexpected: list[str] = field(default_factory=list)
    longest_wait: float = 0.0  # seconds, for a greeting

    def account(self, event: str, delivered: Iterable[str]) -> Account:
        """Compare with what has arrived."""
        arrived = Counter(delivered)
        accepted = set(self.accepted)
        return Account(
            event,
            self,
            lost=sorted(accepted - set(arrived)),
            duplicated=sorted(id_ for id_, times in arrived.items() if times > 1),
            unasked=sorted(set(arrived) - accepted - set(self.unanswered)),
        )


@dataclass(frozen=True)
class Account:
    """One event: what the clients saw, and what became of their messages.

    lost: ids that got a 250 and never arrived.  unasked: ids that arrived, though their client was
    told otherwise.  A message whose client was cut off behind the dot may have arrived or not.
    """

    event: str
    tally: Tally
    lost: Sequence[str]
    duplicated: Sequence[str]
    unasked: Sequence[str]

    def __str__(self) -> str:
        tally = self.tally
        return (
            f"{self.event}: {len(tally.accepted)} messages in {len(tally.sessions)} sessions,"
            f" {tally.refused} refused, {len(tally.cut)} reset, {len(self.lost)} lost,"
            f" {len(self.duplicated)} duplicated; {tally.told} told 421,"
            f" longest wait for a greeting {tally.longest_wait:.1f} s"
            f"{f', {len(tally.unexpected)} UNEXPECTED' if tally.unexpected else ''}"
        )

    def problems(self, *, cut: Callable[[Session], bool] = lambda _session: False) -> list[str]:
        """What should not have been.  cut: which sessions could not but be reset."""
        tally = self.tally
        wrongly_cut = [session for session in tally.cut if not cut(session)]
        found = {
            f"{tally.refused} refused": tally.refused,
            f"reset: {wrongly_cut[:3]}": wrongly_cut,
            f"unexpected: {tally.unexpected[:3]}": tally.unexpected,
            f"lost: {self.lost[:3]}": self.lost,
            f"duplicated: {self.duplicated[:3]}": self.duplicated,
            f"delivered without 250: {self.unasked[:3]}": self.unasked,
            f"only {len(tally.accepted)} messages": len(tally.accepted) < MESSAGES,
        }
        return [problem for problem, is_one in found.items() if is_one]


class Client(asyncio.Protocol):
    """One connection.  What has come is read before its end is noticed, as from a socket."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, door: Door, context: ssl.SSLContext | None) -> Self:
        """Raises OSError; ConnectionRefusedError is what must not be."""
        client = cls()
        tls = context if door.tls == "from the start" else None
        client._transport, _ = await client._loop.create_connection(
            lambda: client,
            door.host,
            door.port,
            ssl=tls,
            ssl_handshake_timeout=PATIENCE if tls else None,
        )
        return client

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._wake()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, _error: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            while b"\r\n" not in self._buffer:
                if self._ended:
                    raise GoneError
                self._waiter = self._loop.create_future()
                await self._waiter
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    async def reply(self, code: int) -> str:
        """The next reply.  Raises AnswerError when it has another code."""
        lines = [await self._line()]
        while lines[-1][3:4] == "-":
            lines.append(await self._line())
        if not lines[-1].startswith(str(code)):
            raise AnswerError(lines[-1])
        return "\n".join(lines)

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def command(self, line: str, code: int) -> str:
        self.send(f"{line}\r\n".encode())
        return await self.reply(code)

    async def envelope(self, to: str = "user@example.test") -> None:
        """From EHLO up to the 354."""
        await self.command("MAIL FROM:<a@client.example>", 250)
        await self.command(f"RCPT TO:<{to}>", 250)
        await self.command("DATA", 354)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Negotiate TLS.  Raises GoneError when that does not succeed."""
        await self.command("STARTTLS", 220)
        assert self._transport is not None
        try:
            self._transport = await self._loop.start_tls(
                self._transport, self, context, ssl_handshake_timeout=PATIENCE
            )
        except (OSError, ssl.SSLError) as error:
            raise GoneError from error
        if self._transport is None:
            raise GoneError

    @property
    def certificate(self) -> bytes | None:
        """What the server showed, as DER."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        der: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        return der

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort() if self._ended else self._transport.close()


class Stream:
    """Clients one after the other, several at a time, until `stop`."""

    def __init__(self, doors: Sequence[Door], context: ssl.SSLContext | None, to: str) -> None:
        self.tally = Tally()
        self.epoch = 0  # to be counted up by who wants to know which sessions began after an event
        self.prefix = f"m{time.monotonic_ns()}"
        self._doors = itertools.cycle(doors)
        self._context = context
        self._to = to
        self._numbers = itertools.count()
        self._stopping = False
        self._progress = asyncio.Event()

    async def more(self, count: int) -> None:
        """Wait until so many more messages have been accepted."""
        wanted = len(self.tally.accepted) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.tally.accepted) < wanted:
                self._progress.clear()
                await self._progress.wait()

    def stop(self) -> None:
        """Let sessions come to their end, and begin no more."""
        self._stopping = True

    async def client(self, number: int) -> None:
        """One session after the other."""
        for turn in itertools.count(number):
            if self._stopping:
                return
            await self.session(IN_ONE_SESSION[turn % len(IN_ONE_SESSION)])

    async def session(self, messages: int = 1) -> None:
        """Connect, send so many messages, and leave."""
        door = next(self._doors)
        session = Session(self.epoch)
        client = None
        began = time.monotonic()
        try:
            client = await Client.connect(door, self._context)
            await self._greeted(client, door, session, began)
            for _ in range(messages):
                await self._message(client, session)
            await client.command("QUIT", 221)
        except ConnectionRefusedError:
            self.tally.refused += 1
            await asyncio.sleep(0.1)  # the load stays bounded
        except AnswerError as error:
            self._answered(str(error))
        except TimeoutError:
            self.tally.unexpected.append(f"no reply: {session}")
        except (GoneError, OSError, ssl.SSLError):
            self._cut(session)
        finally:
            self.tally.sessions.append(session)
            if client is not None:
                client.close()

    async def _greeted(self, client: Client, door: Door, session: Session, began: float) -> None:
        await client.reply(220)
        self.tally.longest_wait = max(self.tally.longest_wait, time.monotonic() - began)
        said = await client.command("EHLO client.example", 250)
        if door.tls == "starttls":
            assert self._context is not None
            await client.start_tls(self._context)
            said = await client.command("EHLO client.example", 250)
        if found := _WORKER.search(said):
            session.worker = int(found[1])
        session.certificate = client.certificate

    async def _message(self, client: Client, session: Session) -> None:
        number = next(self._numbers)
        envelope = (("MAIL FROM:<a@client.example>", 250), (f"RCPT TO:<{self._to}>", 250))
        if number % 2:
            lines = (*(line for line, _ in envelope), "DATA")
            client.send("".join(f"{line}\r\n" for line in lines).encode())
            for code in (250, 250, 354):
                await client.reply(code)
        else:
            for line, code in (*envelope, ("DATA", 354)):
                await client.command(line, code)
        id_ = f"{self.prefix}-{number}"
        client.send(message(id_, SIZES[number % len(SIZES)]))
        session.sent = id_
        await client.reply(250)
        session.sent = None
        self.tally.accepted.append(id_)
        self._progress.set()

    def _answered(self, reply: str) -> None:
        if reply.startswith("421"):
            self.tally.told += 1
        else:
            self.tally.unexpected.append(reply)

    def _cut(self, session: Session) -> None:
        self.tally.cut.append(session)
        if session.sent is not None:
            self.tally.unanswered.append(session.sent)


@asynccontextmanager
async def streaming(
    doors: Sequence[Door],
    *,
    context: ssl.SSLContext | None = None,
    to: str = "user@example.test",
    messages: int = MESSAGES,
) -> AsyncIterator[Stream]:
    """Let clients come, from before the block until its end, and until there were enough."""
    stream = Stream(doors, context, to)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(stream.client(number))
        try:
            await stream.more(CLIENTS)
            yield stream
            await stream.more(max(CLIENTS, messages - len(stream.tally.accepted)))
        finally:
            stream.stop()


def message(id_: str, size: int) -> bytes:
    """A message with this id, and the dot behind it."""
    line = b"." + b"x" * 70 + b"\r\n"
    body = (line * (size // len(line) + 1)).replace(b".", b"..")
    header = b"From: a@client.example\r\nSubject: continuity\r\nX-Continuity: %s\r\n" % id_.encode()
    return b"%s\r\n%s.\r\n" % (header, body)


def ids_in(data: bytes) -> list[str]:
    """The ids of the messages in this text."""
    return [found.decode() for found in _ID.findall(data)]


def in_maildir(directory: Path, *, killed: bool = False) -> list[str]:
    """The ids of all messages that were delivered into a Maildir.

    killed: some process was, and may have left a file in tmp.
    Raises AssertionError for a file that was left behind, and one that is not a whole message.
    """
    left = [path.name for path in (directory / "tmp").iterdir()]
    assert killed or not left, f"left in tmp: {left[:3]}"
    ids = []
    for path in sorted((directory / "new").iterdir()):
        data = path.read_bytes()
        found = ids_in(data)
        assert len(found) == 1 and data.endswith(b"x\n"), f"not a whole message: {path}"
        ids += found
    return ids
