# SPDX-License-Identifier: MIT
"""A mail system for tests: it asks a server in this process as a milter, or as a policy service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from qpsmtpd.milter import packets
from qpsmtpd.milter.codec import Splitter, encode, read_reply
from qpsmtpd.milter.negotiation import Agreement, agree, offer
from qpsmtpd.milter.packets import Continue, Packet
from qpsmtpd.testing import Serving
from tests.unit.client import PATIENCE

#: What ends the answer to one command.
_FINAL = (
    packets.Continue,
    packets.Accept,
    packets.Reject,
    packets.Tempfail,
    packets.Discard,
    packets.ReplyCode,
)
CLIENT = packets.Connect(b"client.example", b"4", 40000, b"192.0.2.9")
MACROS = {"client_name": "client.example", "client_ptr": "client.example"}


class Mta:
    """Postfix or Sendmail, on one connection to the milter front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._splitter = Splitter()
        self.agreed = Agreement(6, agree(offer(), offer()).actions, agree(offer(), offer()).steps)

    async def negotiate(
        self, version: int = 6, offered: packets.Negotiate | None = None
    ) -> packets.Negotiate:
        """Begin; returns the answer."""
        offered = offered or offer(version)
        self._writer.write(encode(offered))
        answer = await self.receive()
        assert isinstance(answer, packets.Negotiate)
        self.agreed = agree(offered, answer)
        return answer

    async def receive(self) -> Packet | None:
        """The next packet; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            while (found := self._splitter.next()) is None:
                data = await self._reader.read(65536)
                if not data:
                    return None
                self._splitter.feed(data)
        return read_reply(*found)

    def send(self, *several: Packet) -> None:
        """Send packets that are not answered."""
        self._writer.write(b"".join(map(encode, several)))

    async def tell(self, packet: Packet, macros: Mapping[str, str] | None = None) -> list[Packet]:
        """Send a command if it is wanted; returns what it is answered."""
        if not self.agreed.hears(type(packet)):
            return [Continue()]
        if macros:
            values = tuple((f"{{{name}}}".encode(), text.encode()) for name, text in macros.items())
            self.send(packets.Macros(packet.letter, values))
        self.send(packet)
        if not self.agreed.answers(type(packet)):
            return [Continue()]
        answers: list[Packet] = []
        while not answers or not isinstance(answers[-1], _FINAL):
            answer = await self.receive()
            if answer is None:
                break
            answers.append(answer)
        return answers

    async def connect(self, connect: Packet = CLIENT, **macros: str) -> Packet:
        """A client comes."""
        return (await self.tell(connect, {**MACROS, **macros}))[-1]

    async def hello(self, name: str = "client.example", **macros: str) -> Packet:
        """It says who it is."""
        return (await self.tell(packets.Helo(name.encode()), macros))[-1]

    async def mail(self, sender: str = "a@client.example", *words: bytes, **macros: str) -> Packet:
        """It begins a message."""
        return (await self.tell(packets.Mail((f"<{sender}>".encode(), *words)), macros))[-1]

    async def rcpt(self, recipient: str = "user@example.test") -> Packet:
        """It names a recipient."""
        return (await self.tell(packets.Rcpt((f"<{recipient}>".encode(),))))[-1]

    async def message(self, text: bytes, blocks: int = 65535, **macros: str) -> list[Packet]:
        """It sends a message; returns what that is answered, or the first refusal."""
        [answer] = await self.tell(packets.Data())
        if answer != Continue():
            return [answer]
        header, _, body = text.partition(b"\n\n")
        space = b" " if self.agreed.steps & 0x100000 else b""
        for line in header.replace(b"\n\t", b"\0").splitlines():
            name, _, value = line.partition(b": ")
            await self.tell(packets.Header(name, space + value.replace(b"\0", b"\n\t")))
        await self.tell(packets.EndOfHeaders())
        body = body.replace(b"\n", b"\r\n")
        for start in range(0, len(body), blocks):
            await self.tell(packets.Body(body[start : start + blocks]))
        return await self.tell(packets.EndOfMessage(), macros)

    async def envelope(self) -> None:
        """A client, its name, a sender and a recipient, all of which are fine."""
        await self.negotiate()
        assert await self.connect() == Continue()
        assert await self.hello() == Continue()
        assert await self.mail() == Continue()
        assert await self.rcpt() == Continue()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class PolicyClient:
    """Postfix's smtpd, on one connection to the policy front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, stage: str, **attributes: Any) -> str:
        """The action; "" if the connection is closed in place of an answer."""
        given = {
            "request": "smtpd_access_policy",
            "protocol_state": stage,
            "protocol_name": "ESMTP",
            "client_address": "192.0.2.9",
            "client_name": "client.example",
            "client_port": "40000",
            "helo_name": "client.example",
            "instance": "1.1",
            **({"sender": "a@client.example"} if stage not in _BEFORE_MAIL else {}),
            **attributes,
        }
        lines = (f"{name}={value}\n" for name, value in given.items())
        return await self.raw("".join((*lines, "\n")).encode())

    async def raw(self, octets: bytes) -> str:
        """Send octets; the action that comes."""
        self._writer.write(octets)
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readline()
            if not line:
                return ""
            assert await self._reader.readline() == b"\n"
        assert line.startswith(b"action=")
        return line.decode().strip().removeprefix("action=")

    async def rcpt(self, recipient: str = "user@example.test", **attributes: Any) -> str:
        """The action for a recipient."""
        return await self.ask("RCPT", recipient=recipient, **attributes)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


_BEFORE_MAIL = ("CONNECT", "HELO", "EHLO", "VRFY", "ETRN")


@asynccontextmanager
async def milter_of(serving: Serving) -> AsyncIterator[Mta]:
    """A connection to the milter front."""
    mta = Mta(*await asyncio.open_connection(serving.host, serving.fronts["milter"]))
    try:
        yield mta
    finally:
        mta.close()


@asynccontextmanager
async def policy_of(serving: Serving) -> AsyncIterator[PolicyClient]:
    """A connection to the policy front."""
    client = PolicyClient(*await asyncio.open_connection(serving.host, serving.fronts["policy"]))
    try:
        yield client
    finally:
        client.close()


def texts(answers: Sequence[Packet]) -> list[str]:
    """Answers, each in one line."""
    return [str(answer) for answer in answers]
