# SPDX-License-Identifier: MIT
"""Exporter: the figures by HTTP, for Prometheus and others.

It is a process of its own, which reads what the daemon has written into its memory: whoever asks,
how often, and how slowly he reads, costs the daemon nothing.  What it answers is a second old at
most, and is made once for all who ask within that time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from qpsmtpd.metrics.memory import FiguresError
from qpsmtpd.metrics.openmetrics import OPENMETRICS, PROMETHEUS, Format
from qpsmtpd.metrics.reading import read

log = logging.getLogger(__name__)

#: Connections at a time; seconds for a request, and for a client to take its answer.
MOST_CLIENTS = 100
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 60.0
#: Octets of a request.
MOST_REQUEST = 16 << 10
#: Seconds for which an answer is used again.
FRESH = 1.0

_PATH = "/metrics"
_PLAIN = "text/plain; charset=utf-8"
_Answer = tuple[HTTPStatus, str, bytes]


class Exporter:
    """Answers requests.

    path: the file of the daemon.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._clients = 0
        self._made: dict[Format, tuple[float, _Answer]] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which has one request."""
        self._clients += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                answer, whole = await self._answer(reader)
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(_head(answer) + (answer[2] if whole else b""))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._clients -= 1

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[_Answer, bool]:
        """The answer to what comes, and whether its body is wanted."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too long"), True
        if self._clients > MOST_CLIENTS:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients"), True
        first, *fields = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _plain(HTTPStatus.BAD_REQUEST, "this is HTTP/1"), True
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is allowed"), True
        if target.partition("?")[0] != _PATH:
            return _plain(HTTPStatus.NOT_FOUND, f"the metrics are at {_PATH}"), method == "GET"
        return self._metrics(_wanted(fields)), method == "GET"

    def _metrics(self, form: Format) -> _Answer:
        made, answer = self._made.get(form, (0.0, None))
        now = self._clock()
        if answer is None or now - made >= FRESH:
            answer = self._make(form)
            self._made[form] = (now, answer)
        return answer

    def _make(self, form: Format) -> _Answer:
        try:
            text = form.text(read(self._path))
        except FiguresError as error:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return HTTPStatus.OK, form.content_type, text.encode()


def _wanted(fields: Sequence[str]) -> Format:
    """The format that the client asks for; the older one for those that do not say."""
    accepted = (field for field in fields if field.lower().startswith("accept:"))
    return OPENMETRICS if any("openmetrics-text" in field for field in accepted) else PROMETHEUS


def _plain(status: HTTPStatus, text: str) -> _Answer:
    return status, _PLAIN, f"{text}\n".encode()


def _head(answer: _Answer) -> bytes:
    status, content_type, body = answer
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode()


def listen_on(path: Path) -> socket.socket:
    """A Unix socket there, which the user and the group may connect to.  Raises OSError.

    A socket that nobody listens on any more is replaced.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_behind(path):
            path.unlink()
        listening.bind(str(path))
        path.chmod(0o660)
        listening.listen(MOST_CLIENTS)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_left_behind(path: Path) -> bool:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                return True
    return False


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(path: Path, sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    """Answer on these sockets until SIGTERM or SIGINT.

    ready: called when it does.
    """
    exporter, stop = Exporter(path), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = []
    for one in sockets:
        start = asyncio.start_unix_server if one.family == socket.AF_UNIX else asyncio.start_server
        servers.append(await start(exporter.talk, sock=one, limit=MOST_REQUEST))
    log.info("serving metrics on %s", ", ".join(map(_address, sockets)))
    ready()
    await stop.wait()
    for server in servers:
        server.close()
