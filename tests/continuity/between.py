# SPDX-License-Identifier: MIT
"""Stands between the daemon and a server that it asks, and has that server fail in every way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Literal, Self

from qpsmtpd.testing import Records
from tests.dns_server import DnsServer
from tests.ports import free_port
from tests.stream_server import Talks

#: What a server does: its job; it is not there; takes connections and says nothing; answers octet
#: by octet; breaks off in the middle of an answer; says something random, as long as the answer
#: would be; is an SMTP server.
Mode = Literal["well", "gone", "paused", "slow", "cut", "lying", "other"]
FAULTS: Sequence[Mode] = ("gone", "paused", "slow", "cut", "lying", "other")

#: Seconds between two octets of a slow server: together more than anybody waits for.
_CRAWL = 0.5
_BLOCK = 1 << 16
_SEED = 20


class Between:
    """Listens on a port of 127.0.0.1, and passes on what a server says, as far as it is well."""

    def __init__(self, place: str | int) -> None:
        """place: where the server listens, a Unix socket or a port of 127.0.0.1."""
        self.port = free_port()  # it comes back to it
        self._place = place
        self._mode: Mode = "well"
        self._server: asyncio.Server | None = None
        self._talks = Talks(self._talk)
        self._chance = random.Random(_SEED)
        self._was_asked = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.become("well")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.become("gone")

    async def become(self, mode: Mode) -> None:
        """Be like that from now on; whoever is connected loses the connection."""
        self._mode = mode
        self._was_asked.clear()
        if mode != "gone":
            await self._talks.cut_off()
            await self._listen()
        elif self._server is not None:
            await self._talks.end(self._server)
            self._server = None

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._talks.accept, "127.0.0.1", self.port)

    async def met(self) -> None:
        """Wait until somebody has asked since it is like that; nobody can, who is gone."""
        if self._mode != "gone":
            await self._was_asked.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._was_asked.set()
        try:
            if self._mode == "paused":
                await asyncio.Event().wait()
            elif self._mode == "other":
                await _speak_smtp(reader, writer)
            else:
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._place, int):
            answers, questions = await asyncio.open_connection("127.0.0.1", self._place)
        else:
            answers, questions = await asyncio.open_unix_connection(self._place)
        asking = asyncio.ensure_future(_copy(reader, questions))
        try:
            while block := await answers.read(_BLOCK):
                if not await self._say(block, writer):
                    return
        finally:
            asking.cancel()
            questions.transport.abort()

    async def _say(self, answer: bytes, writer: asyncio.StreamWriter) -> bool:
        """Pass on an answer; whether there will be more."""
        if self._mode == "slow":
            for octet in answer:
                if writer.transport.is_closing():
                    return False
                writer.write(bytes([octet]))
                await asyncio.sleep(_CRAWL)
            return True
        if self._mode == "lying":
            answer = self._chance.randbytes(len(answer))
        writer.write(answer[: len(answer) // 2] if self._mode == "cut" else answer)
        await writer.drain()
        return self._mode != "cut"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        writer.write_eof()


async def _speak_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 other.example ESMTP\r\n")
    while await reader.read(_BLOCK):
        writer.write(b"500 5.5.1 What?\r\n")


class Names(DnsServer):
    """A name server that fails; what it says is forgotten at once."""

    def __init__(self, records: Records) -> None:
        super().__init__(records, ttl=0, negative_ttl=0)
        self._chance = random.Random(_SEED)

    async def become(self, mode: Mode) -> None:
        """Be like that from now on."""
        # Who sends questions by UDP cannot tell whether somebody is gone or silent.
        self.silent = mode in ("gone", "paused", "slow")
        self.was_asked.clear()
        self.tamper = None if mode == "well" else lambda answer: [self._tampered(answer, mode)]

    async def met(self) -> None:
        """Wait until somebody has asked since it is like that."""
        await self.was_asked.wait()

    def _tampered(self, answer: bytes, mode: Mode) -> bytes:
        match mode:
            case "cut":
                return answer[: len(answer) // 2]
            case "lying":
                return self._chance.randbytes(len(answer))
        return b"220 other.example ESMTP\r\n"
