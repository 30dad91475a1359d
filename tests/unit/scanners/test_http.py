# SPDX-License-Identifier: MIT
"""The small HTTP client."""

from __future__ import annotations

import pytest

from qpsmtpd.plugin.place import parse_places
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners import http
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.http import Response, exchange
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.wire import ScannerError, ScannerWire
from qpsmtpd.testing import a_message
from tests.unit.client import PATIENCE, on_both_loops
from tests.unit.scanners.fake import Answer, Early, fake_scanner, with_content_length

OK = b"HTTP/1.1 200 OK\r\n"


async def nothing(_wire: ScannerWire) -> None: ...


async def got(answer: Answer, message: str = "") -> tuple[Response, bytes]:
    """The answer, and what the request was."""
    fields = [("Host", "scanner"), ("X", "a\r\nBcc: \0b\udce9é")]
    content = Content(a_message(message)) if message else None
    async with fake_scanner(with_content_length, answer) as scanner:
        places = parse_places([scanner.place])
        service = Service(places, nothing, Clock(), timeout=PATIENCE, connections=1)
        response = await service.ask(lambda wire: exchange(wire, "POST", "/x", fields, content))
    return response, scanner.requests[0]


@on_both_loops
async def test_a_request() -> None:
    _, request = await got(OK + b"\r\n", "Subject: x\n\ny\n")
    assert request == (
        b"POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 17\r\nHost: scanner\r\n"
        b"X: a??Bcc: ?b?\xc3\xa9\r\n\r\nSubject: x\r\n\r\ny\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (OK + b"\r\nto the end", Response(200, b"to the end", delimited=False)),
        (OK + b"content-LENGTH:  2 \r\n\r\nabc", Response(200, b"ab")),
        (b"HTTP/1.0 404 Not found\nContent-Length: 0\n\n", Response(404, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Response(204, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\nx", Response(200, b"x", delimited=False)),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            Response(200, b"ab0123456789"),
        ),
        (Early(b"HTTP/1.1 413 \r\nContent-Length: 0\r\n\r\n"), Response(413, b"")),
    ],
)
async def test_answers(answer: Answer, response: Response) -> None:
    message = "\n" + 8_000_000 * "x" if isinstance(answer, Early) else ""
    assert (await got(answer, message))[0] == response


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"ICY 200 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/2 200\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP"),
        (OK + b"Content-Length: -1\r\n\r\n", "no sensible length"),
        (OK + b"Content-Length: 99999999\r\n\r\n", "no sensible length"),
        (OK + b"Content-Length: 5\r\n\r\nab", "closes the connection"),
        (OK + b"a: b\r\n" * 70, "too many fields"),
        (OK + b"a: " + b"b" * 9000, "too long"),
        (b"HTTP/1.1 100 \r\n\r\n" * 9, "again and again"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "without a size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "longer than its size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "closes the connection"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", "too long"),
    ],
)
async def test_wrong_answers(answer: bytes, problem: str) -> None:
    with pytest.raises(ScannerError, match=problem):
        await got(answer)


async def test_the_content_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONTENT", 10)
    for answer in (
        OK + b"\r\n" + b"x" * 11,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9,
    ):
        with pytest.raises(ScannerError, match="too long"):
            await got(answer)
