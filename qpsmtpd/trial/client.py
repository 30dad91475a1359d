# SPDX-License-Identifier: MIT
"""The client of a trial: speaks SMTP for one message, and notes each command and its reply."""

from __future__ import annotations

import asyncio
import base64
import ssl
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.store.overlay import new_layer
from qpsmtpd.trial import course
from qpsmtpd.trial.course import Course, Step
from qpsmtpd.trial.envelope import Attempt
from qpsmtpd.trial.stage import Stage

#: Seconds for one reply: longer than any plugin may take.
_PATIENCE = 900.0
_CLOSING = 2.0
#: Lines of one reply.
_MOST_LINES = 1000
_SHOWN = 300


class _BrokenOffError(Exception):
    """The server did not answer."""


async def try_message(stage: Stage, attempt: Attempt, *, alone: bool = True) -> Course:
    """Play one message; `alone`: what earlier ones have written into the store is not there."""
    now = Course(attempt.name)
    course.begin(now)
    if alone:
        new_layer()
    reader, writer = await stage.connect(Endpoint(attempt.ip, attempt.port))
    talk = _Talk(now, reader, writer)
    try:
        await _session(talk, attempt, stage.password)
    except (_BrokenOffError, OSError, ssl.SSLError, ValueError, TimeoutError) as error:
        now.broken = str(error) or type(error).__name__
    finally:
        await talk.close()
    return now


class _Talk:
    """One connection."""

    def __init__(self, now: Course, reader: StreamReader, writer: StreamWriter) -> None:
        self._course = now
        self._reader = reader
        self._writer = writer

    async def say(self, stage: str, command: str, shown: str = "") -> Step:
        """Send a command, and read the reply."""
        self._writer.write(command.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self.hear(stage, shown or command)

    async def send(self, data: bytes) -> Step:
        """Send a message, and read the reply."""
        self._writer.write(data)
        await self._writer.drain()
        return await self.hear("message", f"({len(data)} octets)")

    async def hear(self, stage: str, said: str) -> Step:
        """Read a reply."""
        async with asyncio.timeout(_PATIENCE):
            lines = [await self._line()]
            while lines[-1][3:4] == "-" and len(lines) < _MOST_LINES:
                lines.append(await self._line())
        return self._course.add(stage, said[:_SHOWN], " / ".join(lines))

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line:
            raise _BrokenOffError("the server has closed the connection")
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    async def start_tls(self) -> None:
        """Negotiate TLS, whatever the certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await self._writer.start_tls(context)

    async def close(self) -> None:
        """Close the connection, and wait until the server has done so."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._writer.wait_closed()


async def _session(talk: _Talk, attempt: Attempt, password: str) -> None:
    if (await talk.hear("connect", f"connection from {attempt.ip}")).code != 220:
        return
    if await _introduce(talk, attempt, password) and await _mail(talk, attempt):
        await talk.say("QUIT", "QUIT")


async def _introduce(talk: _Talk, attempt: Attempt, password: str) -> bool:
    """HELO, TLS and log-in; False if one of them is refused."""
    verb = "HELO" if attempt.old_helo else "EHLO"
    if (await talk.say("HELO", f"{verb} {attempt.helo}")).code >= 400:
        return False
    if attempt.tls:
        if (await talk.say("STARTTLS", "STARTTLS")).code >= 400:
            raise _BrokenOffError("the configuration offers no TLS (plugin tls)")
        await talk.start_tls()
        if (await talk.say("HELO", f"{verb} {attempt.helo}")).code >= 400:
            return False
    return not attempt.user or await _log_in(talk, attempt, password)


async def _log_in(talk: _Talk, attempt: Attempt, password: str) -> bool:
    secret = base64.b64encode(f"\0{attempt.user}\0{password}".encode()).decode()
    shown = f"AUTH PLAIN (as {attempt.user})"
    return (await talk.say("AUTH", f"AUTH PLAIN {secret}", shown)).code < 400


async def _mail(talk: _Talk, attempt: Attempt) -> bool:
    """The message; False if nothing of it is wanted."""
    if (await talk.say("MAIL", f"MAIL FROM:<{attempt.sender}>{_parameters(attempt)}")).code >= 400:
        return False
    replies = [await talk.say("RCPT", f"RCPT TO:<{each}>") for each in attempt.recipients]
    if all(reply.code >= 400 for reply in replies):
        return False
    if (await talk.say("DATA", "DATA")).code >= 400:
        return False
    await talk.send(_dotted(attempt.message))
    return True


def _parameters(attempt: Attempt) -> str:
    if attempt.old_helo:
        return ""
    words = [f" SIZE={len(attempt.message)}"]
    if not attempt.message.isascii():
        words.append(" BODY=8BITMIME")
    if not all(each.isascii() for each in (attempt.sender, *attempt.recipients)):
        words.append(" SMTPUTF8")
    return "".join(words)


def _dotted(message: bytes) -> bytes:
    """The message as it is sent: dots stuffed, and the end."""
    text = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    if text.startswith(b"."):
        text = b"." + text
    return text.replace(b"\r\n.", b"\r\n..") + b".\r\n"
