# SPDX-License-Identifier: MIT
"""FakeBackEnd: a back end on loopback or a unix socket that says what it is told to.

    async with fake_back_end(b"+OK\r\n", b"-ERR\r\n") as back_end:
        ... back_end.place, back_end.said

It says the first answer at once, and each other one when the client has said something up to the
end of a line, or to its end.  Then it closes the connection, unless the last one was SILENT.
SILENT, DROP, RESET and Endless are those of scanners.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import AuthAttempt, Plugin, Session, TlsInfo, Verdict, defer
from qpsmtpd.testing import a_plugin, a_session
from tests.stream_server import port_of, stream_server
from tests.unit.scanners.fake import DROP, NONSENSE, RESET, SILENT, Answer, Early, Endless

PASSWORD = 'pa55 wörd\\"{3}'

#: What a back end says that has lost its mind, in any protocol.
LIES: Sequence[Answer] = [answer for answer in NONSENSE if not isinstance(answer, Early)]


@dataclass
class FakeBackEnd:
    """`said` is what clients have said, all together; `ends` are the ends of what they say."""

    answers: Sequence[Answer]
    ends: tuple[bytes, ...] = (b"\n", b"\0\0")
    place: str = ""
    said: bytes = b""
    clients: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        first, *others = self.answers
        if await self._answer(first, writer):
            for answer in others:
                await self._listen(reader)
                if not await self._answer(answer, writer):
                    return
            while self.answers[-1] == SILENT and (data := await reader.read(65536)):
                self.said += data

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        data = b""
        while not data or not data.endswith(self.ends):
            more = await reader.read(65536)
            if not more:
                break
            data += more
        self.said += data

    async def _answer(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if answer == RESET:
            writer.transport.abort()
        if answer in (DROP, RESET):
            return False
        if isinstance(answer, Endless):
            while True:
                writer.write(answer.octets)
                await writer.drain()
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        return True


@asynccontextmanager
async def fake_back_end(
    *answers: Answer, path: Path | None = None, **more: Any
) -> AsyncIterator[FakeBackEnd]:
    """A back end that is there until the end of the block."""
    back_end = FakeBackEnd(answers, **more)
    async with stream_server(back_end.talk, path) as server:
        back_end.place = str(path) if path else f"127.0.0.1:{port_of(server)}"
        yield back_end


def a_login_session(*, tls: bool = True, local_port: int | None = None) -> Session:
    """A session of a client at 192.0.2.1."""
    session = a_session(ehlo="client.example")
    session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256) if tls else None
    if local_port is not None:
        session.local = type(session.local)(session.local.ip, local_port)
    return session


async def log_in(
    plugin: type[Plugin[Any]],
    line: str,
    user: str = "user@example.test",
    password: str = PASSWORD,
    *,
    mechanism: str = "PLAIN",
    session: Session | None = None,
    **more: Any,
) -> Verdict | None:
    """What a plugin with this line says about a login."""
    made = await a_plugin(plugin, line, **more)
    hook = made.hook_auth_plain if mechanism == "PLAIN" else made.hook_auth_login
    attempt = AuthAttempt(mechanism, user, password)
    verdict: Verdict | None = await hook(session or a_login_session(), attempt)
    return verdict


def assert_temporary(verdict: Verdict | None, *secrets: str) -> str:
    """Make sure that it is 454 4.7.0, and that its reason shows no password; returns that."""
    assert verdict is not None
    text = "Temporary authentication failure, please try again later"
    assert verdict == defer(text, code=454, status="4.7.0", reason=verdict.reason)
    for secret in (PASSWORD, *secrets):
        assert secret not in verdict.reason
    return verdict.reason


#: For each of LIES: the timeout expires only where nothing is said at all.
each_lie = pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie)[:30])

#: What no name or password may have in it, and no client can have meant.
UNREADABLE = ["a\0b", "a\nb", "a\rb", "a\tb", "a\x7fb", "a" * 2000, ""]
each_unreadable = pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text)[:10])

__all__ = [
    "DROP",
    "LIES",
    "PASSWORD",
    "RESET",
    "SILENT",
    "Endless",
    "FakeBackEnd",
    "a_login_session",
    "assert_temporary",
    "each_lie",
    "each_unreadable",
    "fake_back_end",
    "log_in",
]
