# SPDX-License-Identifier: MIT
"""FakeHop: a next hop on loopback or a unix socket that misbehaves as told.

    async with FakeHop(MAIL="451 4.7.1 later") as hop:
        ... hop.port, hop.commands, hop.messages

A reply is one of: text, whose lines are separated by newlines; DROP, to close the connection;
SILENT, to say nothing any more; a list of these, for one time after the other, the last of them for
ever.  The names are greeting, the verbs, and `dot` for the reply to a message; `rcpt` has those of
single recipients, `dots` those to a message in LMTP.  `breaks_off` has, for one message after the
other, the number of lines (octets of BDAT) after which the connection is reset; 0 is never.
"""

from __future__ import annotations

import asyncio
import copy
import socket
import ssl
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.stream_server import Talks, port_of
from tests.unit.nexthop.sasl import Sasl

DROP = "drop"
SILENT = "silent"

Answer = str | list[str]

_USUAL = {
    "greeting": "220 hop.example ESMTP",
    "HELO": "250 hop.example",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 go on",
    "dot": "250 2.0.0 Ok: queued as 4XyZ",
    "RSET": "250 2.0.0 Ok",
    "STARTTLS": "220 2.0.0 Ready",
    "XCLIENT": "220 hop.example ESMTP",
    "XFORWARD": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}
KEYWORDS = ("PIPELINING", "8BITMIME", "SIZE 1000000", "SMTPUTF8", "DSN")


class FakeHop:
    """Talks to any number of connections; remembers what it got."""

    def __init__(
        self,
        *,
        keywords: Sequence[str] = KEYWORDS,
        rcpt: Mapping[str, Answer] | None = None,
        dots: Sequence[Answer] = (),
        context: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        sasl: Sasl | None = None,
        path: Path | None = None,
        lmtp: bool = False,
        dot_is_late: bool = False,
        breaks_off: Sequence[int] = (),
        **answers: Answer,
    ) -> None:
        self._answers: dict[str, Answer] = copy.deepcopy({**_USUAL, **answers})
        self._keywords = keywords
        self._rcpt = dict(rcpt or {})
        self._dots = list(dots)
        self._context = context
        self._implicit_tls = implicit_tls
        self._sasl = sasl
        self._path = path
        self._lmtp = lmtp
        self._breaks_off = list(breaks_off)
        self._talks = Talks(self._serve)
        self.port = 0
        #: Commands, of all connections, as they came.
        self.commands: list[str] = []
        #: Messages as they were meant, without dot-stuffing.
        self.messages: list[bytes] = []
        #: Whether a command came before the reply to the one before it.
        self.pipelined = False
        self.connections = 0
        #: The addresses they came from.
        self.peers: list[str] = []
        self.reading = asyncio.Event()
        self.left = asyncio.Event()
        self.proceed = asyncio.Event()
        if not dot_is_late:
            self.proceed.set()

    async def __aenter__(self) -> FakeHop:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._talks.accept, self._path)
        else:
            tls = self._context if self._implicit_tls else None
            self._server = await asyncio.start_server(self._talks.accept, "127.0.0.1", 0, ssl=tls)
            self.port = port_of(self._server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._talks.end(self._server)

    def verbs(self) -> list[str]:
        """The verbs of all commands, in order."""
        return [command.split()[0].upper() for command in self.commands]

    def change(self, **answers: Answer) -> None:
        """Answer differently from now on."""
        self._answers.update(answers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.peers.append(str((writer.get_extra_info("peername") or ("",))[0]))
        try:
            await self._talk(reader, writer)
        finally:
            self.left.set()
            writer.transport.abort()
            # Not wait_closed(): it never comes back after a handshake that failed.
            await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, self._take("greeting"))
        accepted = 0
        while line := await reader.readline():
            command = line.decode().removesuffix("\r\n")
            assert "\r" not in command
            assert "\n" not in command
            self.commands.append(command)
            # What has arrived behind this command, before its reply.
            self.pipelined = self.pipelined or bool(vars(reader)["_buffer"])
            verb = command.split()[0].upper()
            if verb == "AUTH" and self._sasl is not None:
                await self._log_in(reader, writer, command)
                continue
            if verb == "BDAT":
                await self._chunk(reader, writer, command, accepted)
                continue
            reply = self._reply(command, verb)
            if verb in ("EHLO", "LHLO", "MAIL", "RSET"):
                accepted = 0
            accepted += verb == "RCPT" and reply.startswith("2")
            await self._say(writer, reply)
            if verb == "DATA" and reply.startswith("354"):
                await self._message(reader, writer, accepted)
            if verb == "STARTTLS" and reply.startswith("220"):
                await self._encrypt(writer)
            if verb == "QUIT":
                await writer.drain()
                writer.close()
                return

    async def _log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str
    ) -> None:
        """Ask until the mechanism is content; its answers are not among the commands."""
        assert self._sasl is not None
        _, name, *initial = command.split()
        dialogue = self._sasl.dialogue(name, b64decode(initial[0]) if initial else None)
        response: bytes | None = None
        try:
            while True:
                challenge = dialogue.send(response)
                await self._say(writer, f"334 {b64encode(challenge).decode()}")
                response = b64decode((await reader.readline()).strip())
        except StopIteration as end:
            await self._say(writer, "235 2.7.0 Welcome" if end.value else "535 5.7.8 Wrong")

    async def _encrypt(self, writer: asyncio.StreamWriter) -> None:
        """TLS; without a context nothing follows the promise."""
        if self._context is None:
            await asyncio.Event().wait()
            return
        await writer.start_tls(self._context)

    async def _message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: int
    ) -> None:
        lines: list[bytes] = []
        await self.proceed.wait()
        last = self._breaks_off.pop(0) if self._breaks_off else 0
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            assert line.count(b"\r") == line.count(b"\n") == 1
            lines.append(line.removeprefix(b"."))
            self.reading.set()
            if len(lines) == last:
                _reset(writer)
        self.messages.append(b"".join(lines))
        await self._answer_message(writer, accepted)

    async def _chunk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        command: str,
        accepted: int,
    ) -> None:
        """One BDAT, which has to have the whole message."""
        _, size, last = command.split()
        assert last == "LAST"
        await self.proceed.wait()
        if self._breaks_off and (most := self._breaks_off.pop(0)):
            await reader.readexactly(most)
            _reset(writer)
        self.messages.append(await reader.readexactly(int(size)))
        await self._answer_message(writer, accepted)

    async def _answer_message(self, writer: asyncio.StreamWriter, accepted: int) -> None:
        for _ in range(accepted if self._lmtp else 1):
            answer = self._dots.pop(0) if self._dots else self._take("dot")
            assert isinstance(answer, str)
            await self._say(writer, answer)

    def _reply(self, command: str, verb: str) -> str:
        if verb in ("EHLO", "LHLO") and verb not in self._answers:
            return "\n".join(("250-hop.example", *(f"250-{k}" for k in self._keywords), "250 HELP"))
        if verb == "RCPT":
            address = command.partition("<")[2].partition(">")[0]
            if address in self._rcpt:
                return self._next(self._rcpt, address)
        return self._take(verb) if verb in self._answers else "502 5.5.1 what?"

    def _take(self, name: str) -> str:
        return self._next(self._answers, name)

    @staticmethod
    def _next(answers: dict[str, Answer], name: str) -> str:
        answer = answers[name]
        if isinstance(answer, str):
            return answer
        return answer.pop(0) if len(answer) > 1 else answer[0]

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, reply: str) -> None:
        if reply == SILENT:
            await asyncio.Event().wait()
        if reply == DROP:
            raise ConnectionResetError
        writer.write(reply.replace("\n", "\r\n").encode("latin-1") + b"\r\n")
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with a RST, whatever was still to be read."""
    linger_not = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    raise ConnectionResetError
