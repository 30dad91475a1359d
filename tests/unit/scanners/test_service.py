# SPDX-License-Identifier: MIT
"""The service: places, limits, and a wire whose every failure is a ScannerError."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from qpsmtpd.plugin import breaker
from qpsmtpd.plugin.place import parse_places
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners import service
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.wire import MAX_UNREAD, ScannerError, ScannerWire
from tests.stream_server import port_of, stream_server
from tests.unit.client import PATIENCE, on_both_loops
from tests.unit.scanners.fake import (
    DROP,
    RESET,
    SILENT,
    Answer,
    Early,
    Endless,
    fake_scanner,
)

ASKED = b"what?\n"
OK = b"OK\n"
SHORT = 0.05


def complete(request: bytes) -> bool:
    return request.endswith(b"\n")


async def ask(wire: ScannerWire) -> bytes:
    await wire.send(ASKED)
    return await wire.read_line(100)


async def ping(wire: ScannerWire) -> None:
    if await ask(wire) != b"OK":
        raise ScannerError("is not well")


def a_service(
    places: Sequence[str], *, timeout: float = PATIENCE, connections: int = 10
) -> Service:
    return Service(parse_places(places), ping, Clock(), timeout=timeout, connections=connections)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "RETRY", 0.0)


@on_both_loops
async def test_tcp() -> None:
    async with fake_scanner(complete, OK) as scanner:
        assert await a_service([scanner.place]).ask(ask) == b"OK"
    assert scanner.requests == [ASKED]


@on_both_loops
async def test_a_unix_socket(tmp_path: Path) -> None:
    async with fake_scanner(complete, OK, path=tmp_path / "s") as scanner:
        assert await a_service([scanner.place]).ask(ask) == b"OK"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (DROP, "closes the connection"),
        (b"no end", "closes the connection"),
        (RESET, "c"),
        (SILENT, "no answer within 0.0"),
        (b"x" * 200 + b"\n", "too long"),
        (Endless(b"x" * 65536), "too long"),
    ],
)
@on_both_loops
async def test_failures(answer: Answer, problem: str) -> None:
    timeout = SHORT if answer == SILENT else PATIENCE
    async with fake_scanner(complete, answer) as scanner:
        with pytest.raises(ScannerError, match=f"^{scanner.place}: .*{problem}"):
            await a_service([scanner.place], timeout=timeout).ask(ask)


@on_both_loops
async def test_the_first_place_that_works_is_used(nowhere: str) -> None:
    async with fake_scanner(complete, DROP) as bad, fake_scanner(complete, OK) as good:
        places = [nowhere, bad.place, good.place]
        assert await a_service(places).ask(ask) == b"OK"
        assert await a_service(list(reversed(places))).ask(ask) == b"OK"
    assert len(bad.requests) == 1


async def test_a_place_that_is_silent_leaves_time_for_the_next() -> None:
    async with fake_scanner(complete, SILENT) as slow, fake_scanner(complete, OK) as good:
        assert await a_service([slow.place, good.place], timeout=1).ask(ask) == b"OK"


async def test_places_that_are_down_are_not_asked(nowhere: str) -> None:
    asked = a_service([nowhere])
    for problem in ("cannot connect", "down: cannot connect"):
        with pytest.raises(ScannerError, match=f"{nowhere}: {problem}"):
            await asked.ask(ask)


@pytest.mark.usefixtures("soon")
async def test_a_place_that_was_down_is_pinged_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "PING_WAIT", SHORT)
    monkeypatch.setattr(breaker, "MAX_FAILURES", 1)
    answers = (DROP, SILENT, b"ill\n", OK, OK)
    async with fake_scanner(complete, *answers) as scanner:
        asked = a_service([scanner.place])
        for problem in ("closes", "no answer within 0.0", "is not well"):
            with pytest.raises(ScannerError, match=problem):
                await asked.ask(ask)
        assert await asked.ask(ask) == b"OK"
        assert len(scanner.requests) == 5
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "scanner down",
        "scanner up again",
    ]


@on_both_loops
async def test_a_name_that_cannot_be() -> None:
    with pytest.raises(ScannerError, match=r"scan\.\.example:1: cannot connect"):
        await a_service(["scan..example:1"]).ask(ask)


async def test_no_more_connections_than_configured() -> None:
    async with fake_scanner(complete, SILENT, OK) as scanner:
        asked = a_service([scanner.place], connections=1)
        first = asyncio.create_task(asked.ask(ask))
        second = asyncio.create_task(asked.ask(ask))
        async with asyncio.timeout(PATIENCE):
            while not scanner.requests:
                await asyncio.sleep(0)
            first.cancel()
            assert await second == b"OK"
            # The one that was given up has closed its connection.
            await scanner.left.wait()


async def test_nobody_waits_too_long_for_a_connection() -> None:
    async with fake_scanner(complete, SILENT) as scanner:
        asked = a_service([scanner.place], timeout=SHORT, connections=1)
        answers = await asyncio.gather(*(asked.ask(ask) for _ in range(4)), return_exceptions=True)
    problems = sorted(str(answer).removeprefix(f"{scanner.place}: ") for answer in answers)
    assert problems[0].startswith("no answer")
    assert "too many messages are being scanned" in problems


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield b"x" * 65536


@on_both_loops
async def test_an_early_answer_ends_the_sending() -> None:
    async def talk(wire: ScannerWire) -> bytes:
        assert not await wire.send_all(endless())
        return await wire.read_line(100)

    async with fake_scanner(complete, Early(b"too big\n")) as scanner:
        assert await a_service([scanner.place]).ask(talk) == b"too big"


@on_both_loops
async def test_a_scanner_that_does_not_read() -> None:
    """We read no more of the message than the sockets take."""
    read = 0

    async def counted() -> AsyncGenerator[bytes, None]:
        nonlocal read
        async for block in endless():
            read += len(block)
            yield block

    async def talk(wire: ScannerWire) -> bool:
        return await wire.send_all(counted())

    async def keep_quiet(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with stream_server(keep_quiet) as server:
        with pytest.raises(ScannerError, match="no answer"):
            await a_service([f"127.0.0.1:{port_of(server)}"], timeout=SHORT).ask(talk)
    assert read < 32 << 20


@on_both_loops
async def test_what_nobody_reads_is_limited() -> None:
    async def talk(wire: ScannerWire) -> bytes:
        await wire.send(ASKED)
        return await wire.read_exactly(2 * MAX_UNREAD)

    async with fake_scanner(complete, Endless(b"x" * 65536)) as scanner:
        with pytest.raises(ScannerError, match="endless answer"):
            await a_service([scanner.place]).ask(talk)


@on_both_loops
async def test_reading() -> None:
    async def talk(wire: ScannerWire) -> list[bytes]:
        await wire.send(ASKED)
        return [
            await wire.read_line(4),
            await wire.read_until(b"--", 3),
            await wire.read_exactly(2),
            await wire.read_to_end(3),
        ]

    async with fake_scanner(complete, b"one\r\n1-2--34567") as scanner:
        asked = a_service([scanner.place])
        assert await asked.ask(talk) == [b"one", b"1-2", b"34", b"567"]


async def test_too_much_to_the_end() -> None:
    async def talk(wire: ScannerWire) -> bytes:
        await wire.send(ASKED)
        return await wire.read_to_end(3)

    async with fake_scanner(complete, b"1234") as scanner:
        with pytest.raises(ScannerError, match="too long"):
            await a_service([scanner.place]).ask(talk)


async def test_what_is_not_the_scanners_fault_is_raised() -> None:
    async def talk(_wire: ScannerWire) -> None:
        raise TimeoutError("of a disk")

    async with fake_scanner(complete, OK) as scanner:
        with pytest.raises(TimeoutError, match="of a disk"):
            await a_service([scanner.place]).ask(talk)
