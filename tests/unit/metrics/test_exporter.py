# SPDX-License-Identifier: MIT
"""The exporter, on a Unix socket: who asks, what for, and how slowly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.metrics import catalogue, exporter
from qpsmtpd.metrics.exporter import Exporter, listen_on
from qpsmtpd.metrics.reading import Reading, read
from tests.unit.metrics.examples import Counting

OPENMETRICS = "Accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5\r\n"


@asynccontextmanager
async def exporting(directory: Path, clock: list[float] | None = None) -> AsyncIterator[str]:
    """An exporter; the path of its socket."""
    now = clock or [0.0]
    answering = Exporter(directory / "figures", lambda: now[0])
    place = directory / "socket"
    server = await asyncio.start_unix_server(
        answering.talk, sock=listen_on(place), limit=exporter.MOST_REQUEST
    )
    try:
        yield str(place)
    finally:
        server.close()


async def asked(place: str, request: str) -> tuple[str, str]:
    """The head and the body of the answer."""
    reader, writer = await asyncio.open_unix_connection(place)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


def get(fields: str = "", path: str = "/metrics", method: str = "GET") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"


async def test_both_formats(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    daemon.workers[0].count(catalogue.MESSAGES, "accepted")
    async with exporting(tmp_path) as place:
        head, body = await asked(place, get(OPENMETRICS))
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in head
        assert f"Content-Length: {len(body.encode())}" in head
        assert body.endswith("# EOF\n")
        head, body = await asked(place, get(path="/metrics?x=1"))
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
        assert 'qpsmtpd_messages_total{outcome="accepted"} 1\n' in body
        head, body = await asked(place, get(method="HEAD"))
        assert head.startswith("HTTP/1.1 200 ")
        assert body == ""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(path="/"), "404 Not Found"),
        (get(method="POST"), "405 Method Not Allowed"),
        ("EHLO client.example\r\n\r\n", "400 Bad Request"),
        ("GET /metrics\r\n\r\n", "400 Bad Request"),
        (get("X: " + "x" * 40_000 + "\r\n"), "431 Request Header Fields Too Large"),
    ],
)
async def test_other_requests(tmp_path: Path, request_: str, status: str) -> None:
    Counting(tmp_path)
    async with exporting(tmp_path) as place:
        head, _ = await asked(place, request_)
        assert head.startswith(f"HTTP/1.1 {status}\r\n")


async def test_a_daemon_that_does_not_run(tmp_path: Path) -> None:
    async with exporting(tmp_path) as place:
        head, body = await asked(place, get())
        assert head.startswith("HTTP/1.1 503 ")
        assert body.startswith("the daemon is not running")


async def test_many_at_once_cost_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Counting(tmp_path)
    readings = []

    def counted(path: Path) -> Reading:
        readings.append(path)
        return read(path)

    monkeypatch.setattr(exporter, "read", counted)
    clock = [5.0]
    async with exporting(tmp_path, clock) as place:
        answers = await asyncio.gather(*(asked(place, get()) for _ in range(10)))
        assert len(set(answers)) == len(readings) == 1
        daemon.workers[0].count(catalogue.CONNECTIONS)
        clock[0] += exporter.FRESH
        _, body = await asked(place, get())
        assert "qpsmtpd_connections_total 1\n" in body
        assert len(readings) == 2


async def test_who_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    for number in range(120):
        daemon.workers[0].measure(catalogue.NEXT_HOP_SECONDS, 1.0, f"{number}" + "x" * 500)
    daemon.workers[0].write()
    async with exporting(tmp_path) as place:
        slow = [await asyncio.open_unix_connection(place) for _ in range(10)]
        for _, writer in slow:
            writer.write(get().encode())
        _, body = await asked(place, get())
        assert len(body) > 400_000
        for _, writer in slow:
            writer.transport.abort()


async def test_too_many_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "MOST_CLIENTS", 1)
    Counting(tmp_path)
    async with exporting(tmp_path) as place:
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(b"GET")
        await writer.drain()
        head, _ = await asked(place, get())
        assert head.startswith("HTTP/1.1 503 ")
        writer.write(get().removeprefix("GET").encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_who_says_nothing_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "REQUEST_SECONDS", 0.0)
    async with exporting(tmp_path) as place:
        reader, writer = await asyncio.open_unix_connection(place)
        assert await reader.read() == b""
        writer.close()


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    listen_on(place).close()
    with listen_on(place) as listening:
        assert listening.family == socket.AF_UNIX
        assert place.stat().st_mode & 0o777 == 0o660
        with pytest.raises(OSError, match="in use"):
            listen_on(place)


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="in use"):
        listen_on(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
