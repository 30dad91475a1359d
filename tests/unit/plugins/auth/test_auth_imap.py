# SPDX-License-Identifier: MIT
"""auth_imap: a login is what the IMAP server says of it; one that is unwell says nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from qpsmtpd.api import ConfigError, accept, deny
from qpsmtpd.plugins.auth.auth_imap import AuthImap
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.stream_server import port_of, stream_server
from tests.unit.client import on_both_loops
from tests.unit.logins.fake import (
    PASSWORD,
    SILENT,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.scanners.fake import Answer

READY = b"* OK ready\r\n"
CAPABLE = b"* CAPABILITY IMAP4rev1\r\nb OK\r\n"
GO_ON = b"+ go on\r\n"
WRONG = deny("Wrong user name or password", status="5.7.8")


def line_for(place: str, more: str = "") -> str:
    return f"{place.replace(':', ' ')} {more}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_right(mechanism: str) -> None:
    answers = [READY, CAPABLE, GO_ON, GO_ON, b"* CAPABILITY x\r\nc OK logged in\r\n"]
    async with fake_back_end(*answers) as server:
        assert await log_in(AuthImap, line_for(server.place), mechanism=mechanism) == accept()
    password = PASSWORD.encode()
    said = b"b CAPABILITY\r\nc LOGIN {17}\r\nuser@example.test {%d}\r\n%b\r\n"
    assert server.said == said % (len(password), password)


async def test_wrong() -> None:
    answers = [READY, CAPABLE, GO_ON, GO_ON, b"c NO [AUTHENTICATIONFAILED] no\r\n"]
    async with fake_back_end(*answers) as server:
        assert await log_in(AuthImap, line_for(server.place)) == WRONG


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([b"* BYE overloaded\r\n"], "does not greet"),
        ([b"* PREAUTH hello\r\n"], "does not greet"),
        ([READY, b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nb OK\r\n"], "LOGINDISABLED"),
        ([READY, CAPABLE, b"c BAD no literals\r\n"], "literal"),
        ([READY, CAPABLE, b"c NO\r\n"], "literal"),
        ([READY, CAPABLE, GO_ON, b"* BYE\r\n"], "literal"),
        ([READY, CAPABLE, GO_ON, GO_ON, b"* BYE\r\n"], "ends the session"),
        ([READY, CAPABLE, GO_ON, GO_ON, b"c NO [UNAVAILABLE] x\r\n"], "UNAVAILABLE"),
        ([READY, CAPABLE, GO_ON, GO_ON, f"c BAD {PASSWORD}\r\n".encode()], "understand"),
        ([READY, CAPABLE, GO_ON, GO_ON, f"{PASSWORD}\r\n".encode()], "does not answer"),
        ([READY + b"c OK\r\n"], "out of turn"),
        ([READY, CAPABLE, GO_ON, GO_ON + b"c OK\r\n"], "out of turn"),
        ([READY, b"* X\r\n" * 200], "does not end"),
    ],
)
async def test_no_sensible_answer(answers: Sequence[bytes], problem: str) -> None:
    async with fake_back_end(*answers) as server:
        assert problem in assert_temporary(await log_in(AuthImap, line_for(server.place)))


@pytest.mark.parametrize("before", range(5))
@each_lie
async def test_nonsense(lie: Answer, before: int) -> None:
    async with fake_back_end(*[READY, CAPABLE, GO_ON, GO_ON][:before], lie) as server:
        more = f"timeout {0.2 if lie == SILENT else 60}"
        assert_temporary(await log_in(AuthImap, line_for(server.place, more)))


async def test_nobody_there(nowhere: str) -> None:
    assert "refused" in assert_temporary(await log_in(AuthImap, line_for(nowhere)))


@each_unreadable
async def test_names_and_passwords_that_nobody_has(text: str) -> None:
    async with fake_back_end(READY) as server:
        assert await log_in(AuthImap, line_for(server.place), user=text) == WRONG
        assert await log_in(AuthImap, line_for(server.place), password=text) == WRONG
        assert server.clients == 0


# --- TLS ---


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def imap_with_tls(
    ca: trustme.CA, name: str, offer: bytes
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that has STARTTLS if it offers that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(READY)
        heard.append(await reader.readline())
        writer.write(offer)
        await writer.start_tls(context)
        for answer in (CAPABLE, GO_ON, GO_ON, b"c OK\r\n"):
            heard.append(await reader.readline())
            writer.write(answer)
        await writer.drain()

    async with stream_server(talk) as server:
        yield port_of(server), heard


@on_both_loops
@pytest.mark.parametrize(
    ("name", "mode", "right"),
    [
        ("127.0.0.1", "verify", True),
        ("other.example", "verify", False),
        ("other.example", "require", True),
    ],
)
async def test_starttls(ca: trustme.CA, tmp_path: Path, name: str, mode: str, right: bool) -> None:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    more = f"ca {tmp_path}/ca.pem" if mode == "verify" else ""
    async with imap_with_tls(ca, name, b"a OK go\r\n") as (port, heard):
        verdict = await log_in(AuthImap, f"127.0.0.1 {port} tls {mode} {more}")
        if right:
            assert verdict == accept()
        else:
            assert "certificate" in assert_temporary(verdict)
    assert heard[0] == b"a STARTTLS\r\n"
    assert bool(heard[1:]) == right


@pytest.mark.parametrize("offer", [b"a NO\r\n", b"a BAD\r\n", b"a OK\r\n* OK injected\r\n"])
async def test_no_password_without_tls(ca: trustme.CA, offer: bytes) -> None:
    async with imap_with_tls(ca, "127.0.0.1", offer) as (port, heard):
        assert_temporary(await log_in(AuthImap, f"127.0.0.1 {port} tls require"))
    assert heard == [b"a STARTTLS\r\n"]


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("127.0.0.1", "off"),
        ("localhost 993", "off"),
        ("::1", "off"),
        ("imap.example", "verify"),
        ("192.0.2.1 993", "verify"),
        ("192.0.2.1 143 tls=off", "off"),
    ],
)
async def test_default_of_tls(line: str, mode: str) -> None:
    plugin = await a_plugin(AuthImap, line)
    assert plugin.options.mode == mode


@pytest.mark.parametrize(
    "line", ["", "a/b", "h 0", "h x", "h tls=may", "h tls=off ca=/x", "h tls=verify ca=/none"]
)
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(AuthImap, line)


async def test_examine() -> None:
    async with fake_back_end(READY, CAPABLE) as server:
        plugin = await a_plugin(AuthImap, line_for(server.place))
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "answers: an IMAP server" in str(finding)
    [finding] = await findings_of(plugin, FakeSystem(Path("/")))
    assert "refused" in str(finding)
