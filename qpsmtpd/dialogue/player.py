# SPDX-License-Identifier: MIT
"""Runs dialogue scripts (script.py describes the language) against an SMTP server.

For tests and for administrators: `qpsmtpd dialogue FILE --to HOST:PORT`.  The runner is the client:
it sends what the script says, reads what the server answers, and stops with a DialogueError at the
first line that differs, naming FILE:LINE and showing the conversation so far.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import assert_never

from qpsmtpd.dialogue.script import (
    Action,
    Closed,
    DialogueError,
    Expect,
    HalfClose,
    Mention,
    Reset,
    Script,
    Send,
    Silence,
    StartTls,
    Step,
    Transcript,
    format_transcript,
    parse,
)

__all__ = [
    "Connect",
    "DialogueError",
    "Script",
    "Transcript",
    "format_transcript",
    "load",
    "parse",
    "run",
    "run_file",
]

Connect = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]

BLOCK = 64 * 1024
SHOWN = 200
CLOSE_TIMEOUT = 2.0
NO_LINGER = struct.pack("ii", 1, 0)


class _MismatchError(Exception):
    """The server did not do what the step expects."""

    def __init__(self, expected: str, got: str) -> None:
        problem = "the server did not follow the script"
        super().__init__(f"{problem}\n  expected: {expected}\n  got:      {got}")


def load(path: Path) -> Script:
    """Read and parse a script file.  Raises DialogueError, also when the file cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeError) as error:
        raise DialogueError(str(path), f"cannot be read: {error}") from error


async def run_file(path: Path, host: str, port: int) -> Transcript:
    """Run a script file against a server.  Raises DialogueError."""
    script = await asyncio.to_thread(load, path)
    return await run(script, lambda: asyncio.open_connection(host, port))


async def run(script: Script, connect: Connect) -> Transcript:
    """Run a script; `connect` opens a connection to the server.

    Raises DialogueError at the first thing the server does that is not in the script.
    """
    transcript = Transcript()
    clients: dict[int, _Client] = {}
    try:
        for step in script.steps:
            await _run_step(script, step, connect, clients, transcript)
    finally:
        for client in clients.values():
            await client.close()
    return transcript


async def _run_step(
    script: Script,
    step: Step,
    connect: Connect,
    clients: dict[int, _Client],
    transcript: Transcript,
) -> None:
    try:
        if step.connection not in clients:
            reader, writer = await _open(connect, script.timeout)
            client = _Client(step.connection, reader, writer, transcript, script.timeout)
            clients[step.connection] = client
        await clients[step.connection].perform(step.action)
    except _MismatchError as error:
        raise DialogueError(f"{script.name}:{step.line}", str(error), transcript) from None


async def _open(connect: Connect, timeout: float) -> tuple[StreamReader, StreamWriter]:
    try:
        async with asyncio.timeout(timeout):
            return await connect()
    except OSError as error:
        got = str(error) or f"none within {timeout:g} s"
        raise _MismatchError("a connection", got) from None


class _Client:
    """One connection to the server, seen from the client."""

    def __init__(
        self,
        number: int,
        reader: StreamReader,
        writer: StreamWriter,
        transcript: Transcript,
        timeout: float,
    ) -> None:
        self._number = number
        self._reader = reader
        self._writer = writer
        self._transcript = transcript
        self._timeout = timeout
        self._reply: list[str] = []

    async def perform(self, action: Action) -> None:
        match action:
            case Send():
                await self._send(action)
            case Expect():
                await self._expect(action)
            case Mention():
                self._check_mention(action)
            case Closed():
                await self._expect_closed()
            case Silence():
                await self._expect_silence(action.seconds)
            case HalfClose():
                self._half_close()
            case Reset():
                self._reset()
            case StartTls():
                await self._start_tls()
            case _:
                assert_never(action)

    async def close(self) -> None:
        """Close the connection; what the server does then is not part of the script."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    def _note(self, mark: str, text: str) -> None:
        self._transcript.entries.append((self._number, mark, text))

    # --- what the client does

    async def _send(self, send: Send) -> None:
        self._note(*_describe(send))
        at_once = max(1, BLOCK // len(send.unit)) if send.unit else max(1, send.times)
        try:
            for sent in range(0, send.times, at_once):
                await self._write(send.unit * min(at_once, send.times - sent))
            await self._write(send.tail)
        except ConnectionError as error:  # the next S: says whether it may
            self._note("--", f"sending failed: {error}")

    async def _write(self, octets: bytes) -> None:
        self._writer.write(octets)
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except TimeoutError:
            got = f"it read nothing for {self._timeout:g} s"
            raise _MismatchError("the server reads what the client sends", got) from None

    def _half_close(self) -> None:
        self._note("C~", "<EOF>")
        if not self._writer.can_write_eof():
            raise _MismatchError("<EOF>", "TLS has no half-closed connections")
        self._writer.write_eof()

    def _reset(self) -> None:
        self._note("C~", "<RESET>")
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._writer.transport.abort()

    async def _start_tls(self) -> None:
        self._note("TLS:", "start")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            await self._writer.start_tls(context, ssl_handshake_timeout=self._timeout)
        except OSError as error:
            raise _MismatchError("a TLS handshake", str(error) or type(error).__name__) from None
        self._reply = []

    # --- what the server does

    async def _expect(self, expect: Expect) -> None:
        for skip, pattern in expect.patterns:
            line = await self._next_line(expect.wanted)
            while skip and line[3:4] == "-" and not pattern.search(line):
                line = await self._next_line(expect.wanted)
            if not pattern.search(line):
                raise _MismatchError(expect.wanted, line)

    async def _next_line(self, wanted: str) -> str:
        line = await self._read_line(wanted)
        self._note("S:", line)
        if self._reply and self._reply[-1][3:4] != "-":
            self._reply = []
        self._reply.append(line)
        if line[:3] != self._reply[0][:3]:
            raise _MismatchError(f"a further line of the {self._reply[0][:3]} reply", line)
        return line

    async def _read_line(self, wanted: str) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                octets = await self._reader.readline()
        except TimeoutError:
            raise _MismatchError(wanted, f"nothing within {self._timeout:g} s") from None
        except OSError as error:
            raise _MismatchError(wanted, f"the connection broke ({error})") from None
        except ValueError:
            raise _MismatchError(wanted, "a line that does not end") from None
        if not octets:
            raise _MismatchError(wanted, "the server closed the connection")
        line = octets.removesuffix(b"\r\n")
        if line == octets or re.search(rb"[\r\n\0]", line):
            raise _MismatchError(wanted, f"{_escaped(octets)} (a reply line ends in CRLF)")
        return line.decode("utf-8", "backslashreplace")

    def _check_mention(self, mention: Mention) -> None:
        if any(mention.pattern.search(line[4:]) for line in self._reply) != mention.present:
            wanted = f"{'a' if mention.present else 'no'} reply line with the text {mention.wanted}"
            raise _MismatchError(wanted, " | ".join(self._reply) or "no reply yet")

    async def _expect_closed(self) -> None:
        octets = await self._read_some("<closed>", self._timeout)
        if octets is None:
            raise _MismatchError("<closed>", f"still open after {self._timeout:g} s")
        if octets:
            raise _MismatchError("<closed>", _escaped(octets))
        self._note("S:", "<closed>")

    async def _expect_silence(self, seconds: float) -> None:
        wanted = f"<silence {seconds:g}>"
        octets = await self._read_some(wanted, seconds)
        if octets is not None:
            raise _MismatchError(wanted, _escaped(octets) or "the server closed the connection")
        self._note("S:", wanted)

    async def _read_some(self, wanted: str, seconds: float) -> bytes | None:
        """Whatever arrives, b"" if the connection ends, None if nothing arrives in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.read(BLOCK)
        except TimeoutError:
            return None
        except OSError:
            return b""


def _describe(send: Send) -> tuple[str, str]:
    """How the transcript shows what is sent."""
    if send.times > 1 or send.tail:
        return "C*", f'{send.times} x "{_escaped(send.unit)}" "{_escaped(send.tail)}"'
    line = send.unit.removesuffix(b"\r\n")
    if line == send.unit or not line.isascii() or re.search(rb"[\0-\x1f\x7f]", line):
        return "C!", _escaped(send.unit)
    return "C:", _escaped(line)


def _escaped(octets: bytes) -> str:
    """The octets as a script would write them, cut after SHOWN."""
    shown = octets[:SHOWN].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return text if len(octets) <= SHOWN else f"{text}... ({len(octets)} octets)"
