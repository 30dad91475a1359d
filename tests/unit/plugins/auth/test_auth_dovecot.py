# SPDX-License-Identifier: MIT
"""auth_dovecot: Dovecot's yes is a yes, its no a no, and everything else a 454."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, accept
from qpsmtpd.plugins.auth.auth_dovecot import AuthDovecot
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.stream_server import port_of, stream_server
from tests.unit.logins.fake import (
    PASSWORD,
    SILENT,
    FakeBackEnd,
    a_login_session,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.scanners.fake import Answer

GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tab\nDONE\n"


class FakeDovecot(FakeBackEnd):
    """Answers with the number of the request."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        while b"resp=" not in self.said:
            self.said += await reader.readline()
        [number] = re.findall(rb"\nAUTH\t(\d+)\tPLAIN", self.said)
        assert isinstance(self.answers[0], bytes)
        writer.write(self.answers[0].replace(b"ID", number))


@asynccontextmanager
async def dovecot(says: bytes) -> AsyncIterator[FakeDovecot]:
    back_end = FakeDovecot([says])
    async with stream_server(back_end.talk) as server:
        back_end.place = f"127.0.0.1:{port_of(server)}"
        yield back_end


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_right(mechanism: str) -> None:
    async with dovecot(b"OK\tID\tuser=user@example.test\n") as server:
        assert await log_in(AuthDovecot, server.place, mechanism=mechanism) == accept()
    assert re.match(rb"VERSION\t1\t1\nCPID\t[1-9][0-9]*\nAUTH\t", server.said)
    assert b"\trip=192.0.2.1\t" in server.said
    assert b"\tsecured\t" in server.said


async def test_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async with dovecot(b"FAIL\tID\tuser=user@example.test\n") as server:
        session = a_login_session(tls=False)
        with caplog.at_level("DEBUG"):
            assert await log_in(AuthDovecot, server.place, session=session) is None
    assert b"secured" not in server.said
    assert "wrong password or unknown user='user@example.test'" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("says", [b"FAIL\tID\ttemp\n", b"FAIL\tID\tcode=temp_fail\n", b"OK\t0\n"])
async def test_no_sensible_answer(says: bytes) -> None:
    async with dovecot(says) as server:
        assert_temporary(await log_in(AuthDovecot, server.place))


@each_lie
async def test_nonsense_instead_of_a_greeting(lie: Answer) -> None:
    async with fake_back_end(lie) as server:
        line = f"{server.place} timeout {0.2 if lie == SILENT else 60}"
        assert_temporary(await log_in(AuthDovecot, line))
        assert b"resp=" not in server.said


@each_lie
async def test_nonsense_instead_of_an_answer(lie: Answer) -> None:
    async with fake_back_end(GREETING, lie) as server:
        line = f"{server.place} timeout {0.2 if lie == SILENT else 60}"
        assert_temporary(await log_in(AuthDovecot, line))


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (b"VERSION\t2\t0\nMECH\tPLAIN\nDONE\n", "does not speak"),
        (b"MECH\tPLAIN\nDONE\n", "does not speak"),
        (b"VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n", "only CRAM-MD5"),
        (b"VERSION\t1\t2\n" + b"X\n" * 200, "does not end"),
        (GREETING + b"OK\t1\n", "out of turn"),
    ],
)
async def test_greetings(greeting: bytes, problem: str) -> None:
    async with fake_back_end(greeting, SILENT) as server:
        assert problem in assert_temporary(await log_in(AuthDovecot, server.place))
        assert b"resp=" not in server.said


async def test_nobody_there(tmp_path: Path, nowhere: str) -> None:
    reason = assert_temporary(await log_in(AuthDovecot, nowhere))
    assert "Connection refused" in reason
    reason = assert_temporary(await log_in(AuthDovecot, str(tmp_path / "socket")))
    assert reason.startswith("user='user@example.test': ")
    assert "No such file" in reason


@each_unreadable
async def test_names_and_passwords_that_nobody_has(text: str) -> None:
    async with fake_back_end(GREETING) as server:
        assert await log_in(AuthDovecot, server.place, user=text) is None
        assert await log_in(AuthDovecot, server.place, password=text) is None
        assert server.clients == 0


@pytest.mark.parametrize("line", ["auth", "localhost:70000", "service=a_b", "timeout 2h"])
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(AuthDovecot, line)


async def test_examine(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    plugin = await a_plugin(AuthDovecot, "/auth")
    [finding] = await findings_of(plugin, system)
    assert "No such file" in str(finding)
    async with fake_back_end(GREETING, SILENT, path=tmp_path / "auth"):
        [finding] = await findings_of(plugin, system)
    assert "answers: Dovecot with PLAIN" in str(finding)
