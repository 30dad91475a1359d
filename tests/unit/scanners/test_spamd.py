# SPDX-License-Identifier: MIT
"""The protocol of spamd."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import check_field
from qpsmtpd.plugin.place import parse_places
from qpsmtpd.plugin.services import Clock
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.spamd import (
    SpamdAnswer,
    SpamdVerdict,
    check,
    check_status,
    parse_answer,
    parse_verdict,
    ping,
)
from qpsmtpd.scanners.wire import ScannerError
from qpsmtpd.testing import a_message
from tests.unit.client import PATIENCE, on_both_loops
from tests.unit.scanners.fake import Answer, Early, fake_scanner, with_content_length

MESSAGE = "From: a@b.example\nSubject: test\n\nHello.\n"

#: What SpamAssassin 4.0.1 said to messages of ours.
HAM = b"""\
X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on mx.example
X-Spam-Level:\x20
X-Spam-Status: No, score=-0.0 required=5.0 tests=MSGID_SHORT,NO_RECEIVED,
\tNO_RELAYS autolearn=unavailable autolearn_force=no version=4.0.1
From: a@b.example

""".replace(b"\n", b"\r\n")
SPAM = b"""\
Received: from localhost by mx.example
\twith SpamAssassin (version 4.0.1);
\tSun, 29 Nov 2026 06:50:50 +0000
From: a@b.example
X-Spam-Flag: YES
X-Spam-Status: Yes, score=1000.0 required=5.0 tests=GTUBE,MSGID_SHORT,
\tNO_RECEIVED,NO_RELAYS autolearn=no autolearn_force=no
\tversion=4.0.1

""".replace(b"\n", b"\r\n")


def answering(section: bytes, spam: str = "False ; -0.0 / 5.0", length: int | None = None) -> bytes:
    """A whole answer."""
    size = len(section) if length is None else length
    head = f"SPAMD/1.1 0 EX_OK\r\nContent-length: {size}\r\nSpam: {spam}\r\n\r\n"
    return head.encode() + section


async def asked(answer: Answer, message: str = MESSAGE) -> tuple[SpamdAnswer, bytes]:
    """What comes of an answer, and what the request was."""
    content = Content(a_message(message), b"X-Envelope-From: <a@b.example>\r\n")
    async with fake_scanner(with_content_length, answer) as scanner:
        places = parse_places([scanner.place])
        service = Service(places, ping, Clock(), timeout=PATIENCE, connections=1)
        answered = await service.ask(lambda wire: check(wire, content, "user"))
    return answered, scanner.requests[0]


@on_both_loops
async def test_a_request_and_its_answer() -> None:
    answer, request = await asked(answering(HAM))
    message = b"X-Envelope-From: <a@b.example>\r\n" + MESSAGE.replace("\n", "\r\n").encode()
    head = b"HEADERS SPAMC/1.5\r\nContent-length: %d\r\nUser: user\r\n\r\n" % len(message)
    assert request == head + message
    assert answer.verdict == SpamdVerdict(False, 0.0, 5.0)
    assert answer.tests == ("MSGID_SHORT", "NO_RECEIVED", "NO_RELAYS")
    assert answer.autolearn == "unavailable"
    assert dict(answer.fields)["X-Spam-Level"] == ""


async def test_spam() -> None:
    answer, _ = await asked(answering(SPAM, "True ; 1000.0 / 5.0"))
    assert answer.verdict == SpamdVerdict(True, 1000.0, 5.0)
    assert answer.tests == ("GTUBE", "MSGID_SHORT", "NO_RECEIVED", "NO_RELAYS")
    assert [name for name, _ in answer.fields] == ["X-Spam-Flag", "X-Spam-Status"]


async def test_an_answer_without_a_length() -> None:
    answer, _ = await asked(b"SPAMD/1.1 0 EX_OK\r\nspam: True ; 6 / 5\r\n\r\n" + SPAM)
    assert answer.verdict == SpamdVerdict(True, 6.0, 5.0)


async def test_an_answer_before_the_end_of_the_message() -> None:
    with pytest.raises(ScannerError, match="answers 74 EX_IOERR"):
        await asked(Early(b"SPAMD/1.0 74 EX_IOERR\r\n"), MESSAGE + "x\n" * 2_000_000)


async def test_it_dies_in_the_middle_of_an_answer() -> None:
    for size in range(0, len(answering(HAM)) - 1, 5):
        with pytest.raises(ScannerError):
            await asked(answering(HAM)[:size])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SPAMD/1.0 76 Bad header line: x\r\n", "answers 76 Bad header line: x"),
        (b"SPAMD/1.0 79\r\n", "answers 79"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "does not speak the protocol"),
        (b"SPAMD/1.1 0 EX_OK\r\n\r\n", "has no score"),
        (answering(HAM, "maybe"), "has no score"),
        (answering(HAM, "True ; nan / 5"), "has no score"),
        (answering(HAM, length=10**9), "no sensible length"),
        (answering(HAM, length=-1), "no sensible length"),
        (b"SPAMD/1.1 0 EX_OK\r\n" + b"a: b\r\n" * 30, "too many fields"),
        (b"SPAMD/1.1 0 EX_OK\r\n" + b"a" * 2000, "too long"),
    ],
)
async def test_wrong_answers(answer: bytes, problem: str) -> None:
    with pytest.raises(ScannerError, match=problem):
        await asked(answer)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("True ; 6.5 / 5.0", SpamdVerdict(True, 6.5, 5.0)),
        ("Yes ; -6 / 5", SpamdVerdict(True, -6.0, 5.0)),
        (" No;1/2 ", SpamdVerdict(False, 1.0, 2.0)),
    ],
)
def test_verdicts(value: str, verdict: SpamdVerdict) -> None:
    assert parse_verdict(value) == verdict


def test_fields_are_cleaned() -> None:
    section = b"X-Spam-Status: Yes, tests=A,B<c>\n\tautolearn=ham\xff\nX-Spam-\xff: a\nBcc: x\n"
    section += b"\nX-Spam-b: c"
    answer = parse_answer(SpamdVerdict(True, 1, 1), section)
    assert answer.fields == (("X-Spam-Status", "Yes, tests=A,B<c>\n\tautolearn=ham?"),)
    assert answer.tests == ("A",)


def test_words_of_a_status() -> None:
    assert check_status(b"SPAMD/1.5 0 PONG") == b"PONG"
    assert check_status(b"SPAMD/1.1 0") == b""


@given(st.binary() | st.lists(st.sampled_from(SPAM.split(b" "))).map(b" ".join))
def test_whatever_the_section_is(section: bytes) -> None:
    answer = parse_answer(SpamdVerdict(True, 1, 1), section)
    for name, value in answer.fields:
        check_field(name, value)
        assert name.lower().startswith("x-spam-")


@given(st.text() | st.from_regex(r"(True|No) ; -?[0-9.]{1,9} / [0-9.]{1,9}"))
def test_whatever_the_verdict_is(value: str) -> None:
    try:
        verdict = parse_verdict(value)
    except ScannerError:
        return
    assert abs(verdict.score) < 1e10


@given(st.binary() | st.from_regex(rb"SPAMD/1.[0-9] [0-9]{1,6}.*"))
def test_whatever_the_status_is(line: bytes) -> None:
    with suppress(ScannerError):
        assert check_status(line) in line
