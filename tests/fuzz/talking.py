# SPDX-License-Identifier: MIT
"""Plays dialogues to a server, and holds it to its replies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.fuzz.dialogues import Dialogue, Leave, Leaving, Send, StartTls, Step, Wait
from tests.fuzz.ledger import Ledger, LedgerError, Message

#: Seconds without progress after which the server has failed; a busy machine takes its time.
PATIENCE = 60.0
_BARE = re.compile(rb"\0|(?<!\r)\n|\r(?!\n)")
_MBOX = re.compile(rb">?From (?!\s*:)")
#: What plugins and we put on top.
_OURS = re.compile(rb"(?:[A-Za-z-]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*").fullmatch


@dataclass(frozen=True)
class Delivered:
    """A message that was handed over: by whom, and its octets."""

    address: str
    recipients: tuple[str, ...]
    octets: bytes


class Ports(NamedTuple):
    """Where the server is."""

    smtp: int
    lmtp: int


@dataclass
class Outcome:
    """What became of a dialogue; `left` says whether the client left without listening."""

    dialogue: Dialogue
    ledger: Ledger
    left: bool = False
    problems: list[str] = field(default_factory=list)


async def play(dialogue: Dialogue, ports: Ports, context: ssl.SSLContext) -> Outcome:
    """Play a dialogue to the end of the connection."""
    talk = _Talk(dialogue, context)
    try:
        async with asyncio.timeout(PATIENCE) as talk.patience:
            await talk.run(ports.lmtp if dialogue.lmtp else ports.smtp)
    except (LedgerError, ssl.SSLError) as error:
        talk.outcome.problems.append(f"{type(error).__name__}: {error}")
    except TimeoutError:
        talk.outcome.problems.append(f"no progress; the last reply was {talk.ledger.code}")
    finally:
        await talk.close()
    return talk.outcome


def judge(outcome: Outcome, delivered: list[Delivered]) -> list[str]:
    """What is wrong: with the replies, or with what arrived, in the order of its arrival."""
    ledger = outcome.ledger
    problems = list(outcome.problems)
    accepted = [message for message in ledger.messages if message.code == 250]
    # Who left without listening may have sent more.
    most = len(accepted) + (outcome.ledger.unheard if outcome.left else 0)
    if not len(accepted) <= len(delivered) <= most:
        problems.append(f"{len(accepted)} were accepted, {len(delivered)} delivered")
    for message, found in zip(accepted, delivered, strict=False):
        problems += _differences(message, found)
    if not ledger.authenticated:
        problems += [
            f"relayed to {recipient}"
            for found in delivered
            for recipient in found.recipients
            if not recipient.lower().rstrip(".").endswith("@example.test") and "@" in recipient
        ]
    return problems


def _differences(message: Message, found: Delivered) -> list[str]:
    """How a delivered message differs from what RFC 5321 or 3030 makes of what was sent."""
    wanted = message.text
    if _BARE.search(wanted):
        return [f"accepted with a bare CR, LF or NUL: {wanted!r}"]
    if wanted.startswith((b" ", b"\t")):
        wanted = b"X-Unparsed:" + wanted
    elif _MBOX.match(wanted):
        wanted = b"Mail-From: " + wanted.partition(b" ")[2]
    if found.octets.endswith(wanted) and _OURS(found.octets[: len(found.octets) - len(wanted)]):
        return []
    return [f"delivered {found.octets!r} in place of {wanted!r}"]


class _Talk:
    """One connection, on a bare socket: a transport would lose what came before a reset."""

    def __init__(self, dialogue: Dialogue, context: ssl.SSLContext) -> None:
        self.ledger = Ledger(lmtp=dialogue.lmtp)
        self.outcome = Outcome(dialogue, self.ledger)
        #: Reset whenever something was sent: thousands of octets, each on its own, take a while.
        self.patience: asyncio.Timeout | None = None
        self._dialogue = dialogue
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._tls: _Tls | None = None
        self._listener: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._ended = False

    async def run(self, port: int) -> None:
        self._socket.setblocking(False)
        # Its address says who a client was when it has gone.
        self._socket.bind((self._dialogue.address, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.sock_connect(self._socket, ("127.0.0.1", port))
        self._listener = self._loop.create_task(self._listen())
        for step in self._dialogue.steps:
            await self._step(step)
            if self._ended or isinstance(step, Leave):
                break
        await self._listener

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        self._socket.close()

    async def _step(self, step: Step) -> None:
        match step:
            case Send(pieces):
                await self._send(pieces)
            case Wait():
                await self._replies()
            case StartTls():
                await self._start_tls()
            case Leave(how):
                await self._leave(how)

    async def _send(self, pieces: tuple[bytes, ...]) -> None:
        for piece in pieces:
            self.ledger.said(piece)
            with contextlib.suppress(OSError):
                await self._loop.sock_sendall(
                    self._socket, self._tls.encrypt(piece) if self._tls else piece
                )
            if self.patience is not None:
                self.patience.reschedule(self._loop.time() + PATIENCE)
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def _replies(self) -> None:
        """Wait until nothing is owed, or the server has hung up."""
        while self.ledger.owes and not self._ended:
            self._heard.clear()
            await self._heard.wait()

    async def _listen(self) -> None:
        try:
            while octets := await self._receive():
                self.ledger.heard(self._tls.decrypt(octets) if self._tls else octets)
                self._heard.set()
                if self._tls and self._tls.closed:
                    break  # and close: the server waits for that (RFC 8446 section 6.1)
            if not self.outcome.left:
                self.ledger.closed()
        finally:
            self._ended = True
            self._heard.set()

    async def _receive(self) -> bytes:
        """What has come; b"" at the end of the connection."""
        try:
            return await self._loop.sock_recv(self._socket, 65536)
        except OSError:
            return b""

    async def _start_tls(self) -> None:
        await self._replies()
        if self.ledger.mode != "command" or self._tls or self._ended:
            return
        await self._send((b"STARTTLS\r\n",))
        await self._replies()
        if not self.ledger.tls_begins or self._ended:
            return
        assert self._listener is not None
        self._listener.cancel()
        await asyncio.wait([self._listener])
        self._ended = False
        self._tls = _Tls(self._context)
        await self._shake_hands(self._tls)
        self.ledger.restart()
        self._listener = self._loop.create_task(self._listen())

    async def _shake_hands(self, tls: _Tls) -> None:
        while not tls.established():
            with contextlib.suppress(OSError):
                await self._loop.sock_sendall(self._socket, tls.pending())
            if tls.established():
                break
            octets = await self._receive()
            if not octets:
                raise LedgerError("the server hangs up in the handshake")
            tls.feed(octets)
        await self._loop.sock_sendall(self._socket, tls.pending())

    async def _leave(self, how: Leaving) -> None:
        if how == "half-close" and self._tls is None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            return
        if how == "half-close":
            # TLS has none: who wants to hear everything waits for it.
            await self._replies()
        self.outcome.left = True
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert self._listener is not None
        self._listener.cancel()
        await asyncio.wait([self._listener])
        self._ended = True
        self._listener = self._loop.create_task(asyncio.sleep(0))


class _Tls:
    """The client's end of TLS, apart from any socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname="mx.example")
        self.closed = False  # by the server

    def established(self) -> bool:
        """Whether the handshake is complete; it goes as far as it can."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, octets: bytes) -> None:
        self._in.write(octets)

    def pending(self) -> bytes:
        """What is to be sent."""
        return self._out.read()

    def encrypt(self, octets: bytes) -> bytes:
        if octets:
            self._object.write(octets)
        return self._out.read()

    def decrypt(self, octets: bytes) -> bytes:
        self._in.write(octets)
        clear = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self._object.read(65536):
                clear += piece
            self.closed = True
        return clear
