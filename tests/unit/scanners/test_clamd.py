# SPDX-License-Identifier: MIT
"""The protocol of clamd."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.plugin.place import parse_places
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners.clamd import ClamdAnswer, parse_answer, ping, scan, version
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.wire import ScannerError
from qpsmtpd.testing import a_message
from tests.unit.client import PATIENCE, on_both_loops
from tests.unit.scanners.fake import Answer, Early, fake_scanner

MESSAGE = "From: a@b.example\n\nHello.\n"


def clamd_request(request: bytes) -> bool:
    """Whether a command is there, with a message where it needs one."""
    command, end, rest = request.partition(b"\0")
    return bool(end) and (command != b"zINSTREAM" or streamed(rest) is not None)


def streamed(octets: bytes) -> bytes | None:
    """The message in chunks that are complete; None if they are not."""
    message = b""
    while len(octets) >= 4:
        (size,) = struct.unpack(">I", octets[:4])
        if size == 0:
            return message
        message += octets[4 : 4 + size]
        octets = octets[4 + size :]
    return None


async def scanned(answer: Answer, message: str = MESSAGE) -> tuple[ClamdAnswer, bytes]:
    """What comes of an answer, and what the request was."""
    content = Content(a_message(message))
    async with fake_scanner(clamd_request, answer) as scanner:
        places = parse_places([scanner.place])
        service = Service(places, ping, Clock(), timeout=PATIENCE, connections=1)
        answered = await service.ask(lambda wire: scan(wire, content))
    return answered, scanner.requests[0]


@on_both_loops
async def test_a_request_and_its_answer() -> None:
    answer, request = await scanned(b"stream: OK\0")
    assert answer == ClamdAnswer()
    assert request.startswith(b"zINSTREAM\0")
    assert streamed(request.partition(b"\0")[2]) == MESSAGE.replace("\n", "\r\n").encode()


@on_both_loops
async def test_a_message_that_is_too_large_for_it() -> None:
    answer, _ = await scanned(Early(b"INSTREAM size limit exceeded. ERROR\0"), MESSAGE * 500_000)
    assert answer == ClamdAnswer(too_large=True)


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"stream: OK", ClamdAnswer()),
        (b"stream: Eicar-Test-Signature FOUND", ClamdAnswer("Eicar-Test-Signature")),
        (b"stream: A \r\n550 B\xff FOUND", ClamdAnswer("A 550 B?")),
        (b"stream:  FOUND", ClamdAnswer("unknown")),
    ],
)
def test_answers(octets: bytes, answer: ClamdAnswer) -> None:
    assert parse_answer(octets) == answer


@pytest.mark.parametrize(
    "octets", [b"", b"OK", b"stream: ", b"stream: OK ERROR", b"UNKNOWN COMMAND", b"x FOUND"]
)
def test_what_is_no_answer(octets: bytes) -> None:
    with pytest.raises(ScannerError, match="answers"):
        parse_answer(octets)


@given(st.binary() | st.from_regex(rb"stream: .* FOUND"))
def test_whatever_it_says(octets: bytes) -> None:
    try:
        answer = parse_answer(octets)
    except ScannerError as error:
        assert str(error).isprintable()
    else:
        assert answer.virus.isascii()
        assert len(answer.virus) <= 100


async def test_it_dies_in_the_middle_of_an_answer() -> None:
    for size in range(len(b"stream: OK\0")):
        with pytest.raises(ScannerError):
            await scanned(b"stream: OK\0"[:size])


@pytest.mark.parametrize(
    ("said", "version_of"),
    [(b"ClamAV 1.4.6/27000/Sun\0", "ClamAV 1.4.6/27000/Sun"), (b"UNKNOWN COMMAND\0", "")],
)
async def test_versions(said: bytes, version_of: str) -> None:
    async with fake_scanner(clamd_request, said) as scanner:
        places = parse_places([scanner.place])
        service = Service(places, ping, Clock(), timeout=PATIENCE, connections=1)
        if version_of:
            assert await service.ask(version) == version_of
        else:
            with pytest.raises(ScannerError, match="protocol of clamd"):
                await service.ask(version)
    assert scanner.requests == [b"zVERSION\0"]
