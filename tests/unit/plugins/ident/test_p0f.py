# SPDX-License-Identifier: MIT
"""ident/p0f, with a socket that answers as p0f 3 does."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, Session, deny, parse_ip
from qpsmtpd.plugins.ident import p0f
from qpsmtpd.plugins.ident.p0f import P0F, P0f, query_about, read_answer
from qpsmtpd.testing import (
    FakeClock,
    FakeSystem,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    findings_of,
)
from tests.stream_server import stream_server

IP = "192.0.2.9"
BLOCKED = deny("OS Blocked", status="5.7.1")


def an_answer(name: str = "Windows", flavor: str = "7 or 8", link: str = "DSL") -> bytes:
    texts = [name, flavor, "", "", link, "English"]
    numbers = (0x50304602, 0x10, 1, 2, 3, 90, 5, 6, 7)
    return struct.pack("=9Ih2B", *numbers, 9, 0, 1) + b"".join(
        text.encode().ljust(32, b"\0") for text in texts
    )


NO_MATCH = struct.pack("=2I", 0x50304602, 0x20).ljust(232, b"\0")


@pytest.fixture
def socket() -> Iterator[Path]:
    with TemporaryDirectory(prefix="qpsmtpd-p0f-") as name:
        yield Path(name, "p0f.sock")


async def met(socket: Path, answer: bytes, line: str = "", **lent: Any) -> tuple[P0f, Session]:
    """A client, once p0f was asked about it."""
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(21))
        writer.write(answer)

    plugin = await a_plugin(P0f, f"{socket} {line}", **lent)
    session = a_session(IP)
    async with stream_server(talk, socket):
        assert await plugin.hook_connect(session) is None
    assert asked == [query_about(parse_ip(IP))]
    return plugin, session


async def test_what_p0f_says(socket: Path) -> None:
    _, session = await met(socket, an_answer())
    found = session.notes[P0F]
    assert found["genre"] == "Windows 7 or 8"
    assert (found["link"], found["distance"], found["uptime"]) == ("DSL", 9, 90)
    assert session.karma == 0


@pytest.mark.parametrize(
    "answer", [NO_MATCH, b"", an_answer()[:-1], b"x" * 232, NO_MATCH.replace(b"\x20", b"\0", 1)]
)
async def test_nothing_sensible(socket: Path, answer: bytes) -> None:
    plugin, session = await met(socket, answer)
    assert P0F not in session.notes
    tx = a_transaction(session=session, message="Subject: x\n\nHello.\n")
    assert await plugin.hook_rcpt(tx, a_recipient()) is None
    assert await plugin.hook_data_post(tx) is None


async def test_p0f_is_left_alone_for_a_while(socket: Path) -> None:
    clock = FakeClock()
    plugin, _ = await met(socket, b"", clock=clock)
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(an_answer())

    socket.unlink(missing_ok=True)
    async with stream_server(talk, socket):
        await plugin.hook_connect(a_session(IP))
        assert asked == 0
        clock.advance(p0f.PAUSE)
        session = a_session(IP)
        await plugin.hook_connect(session)
    assert asked == 1
    assert P0F in session.notes


async def test_a_silent_p0f_costs_nothing_but_time(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p0f, "TIMEOUT", 0.01)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    plugin = await a_plugin(P0f, str(socket))
    session = a_session(IP)
    async with stream_server(talk, socket):
        assert await plugin.hook_connect(session) is None
    assert P0F not in session.notes


async def test_no_socket(socket: Path) -> None:
    plugin = await a_plugin(P0f, str(socket))
    assert await plugin.hook_connect(a_session(IP)) is None


@pytest.mark.parametrize(
    ("ip", "octets"),
    [
        ("192.0.2.9", b"\x04\xc0\x00\x02\x09" + bytes(12)),
        ("2001:db8::1", b"\x06\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
    ],
)
def test_queries(ip: str, octets: bytes) -> None:
    assert query_about(parse_ip(ip)) == struct.pack("=I", 0x50304601) + octets


@given(st.binary(min_size=232, max_size=232))
def test_any_answer_is_read_or_refused(octets: bytes) -> None:
    for magic in (b"", struct.pack("=2I", 0x50304602, 0x10)):
        try:
            found = read_answer(magic + octets[len(magic) :])
        except ValueError:
            continue
        assert all(value.isascii() for value in found.values() if isinstance(value, str))


# --- what follows from it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "blocked"),
    [
        ([], False),
        (["Windows 7 or 8"], True),
        (["windows 7 or 8"], False),
        (["Windows"], False),
        (["/windows/"], True),
        (["/^win/", "Linux"], True),
        (["/linux/"], False),
    ],
)
async def test_blocked_systems(socket: Path, lines: list[str], blocked: bool) -> None:
    config = {"p0f_blocked_operating_systems": lines}
    plugin, session = await met(socket, an_answer(), config=config)
    tx = a_transaction(session=session)
    assert await plugin.hook_rcpt(tx, a_recipient()) == (BLOCKED if blocked else None)
    session.relay_client = True
    assert await plugin.hook_rcpt(tx, a_recipient()) is None


@pytest.mark.parametrize(("line", "karma"), [("smite_os windows", -1), ("smite_os linux", 0)])
async def test_smitten_systems(socket: Path, line: str, karma: int) -> None:
    _, session = await met(socket, an_answer(), line)
    assert session.karma == karma


@pytest.mark.parametrize(
    ("line", "genre", "link"),
    [
        ("", ["Windows 7 or 8"], ["DSL"]),
        ("add_headers true", ["Windows 7 or 8"], ["DSL"]),
        ("add_headers false", ["forged"], []),
    ],
)
async def test_header_fields(socket: Path, line: str, genre: list[str], link: list[str]) -> None:
    plugin, session = await met(socket, an_answer(), line)
    tx = a_transaction(session=session, message="X-P0F-Genre: forged\nSubject: x\n\nHello.\n")
    assert tx.message is not None
    assert await plugin.hook_data_post(tx) is None
    assert tx.message.headers.get_all("X-P0F-Genre") == genre
    assert tx.message.headers.get_all("X-P0F-Link-Type") == link


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/run/p0f smite_os [", "smite_os: '[' is not a regular expression"),
        ("/run/p0f add_headers junk", "'junk' is not yes or no"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_plugin(P0f, line)
    assert problem in str(caught.value)


async def test_version_2(socket: Path) -> None:
    plugin = await a_plugin(P0f, f"{socket} version 2 local_ip 192.0.2.1")
    assert await plugin.hook_connect(a_session(IP)) is None
    assert "only p0f 3" in plugin.services.config.warnings[0]  # type: ignore[attr-defined]


async def test_findings(tmp_path: Path) -> None:
    plugin = await a_plugin(P0f, "/run/p0f.sock")
    system = FakeSystem(tmp_path)
    (missing,) = await findings_of(plugin, system)
    assert "there is no such socket" in missing.text
    (tmp_path / "run").mkdir()
    (tmp_path / "run/p0f.sock").touch()
    (there,) = await findings_of(plugin, system)
    assert there.text == "the socket is there"
