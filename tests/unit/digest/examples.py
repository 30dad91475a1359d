# SPDX-License-Identifier: MIT
"""A store with decisions, and digests of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import html5lib

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.decisions.book import CHUNK_SECONDS, Book, Chunk
from qpsmtpd.decisions.decision import Decision, Said
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.digest.dailyreport import daily
from qpsmtpd.digest.digest import Digest
from qpsmtpd.digest.gather import gather
from qpsmtpd.digest.sections import Report
from qpsmtpd.digest.shadow import Shadow
from qpsmtpd.digest.shadowreport import shadow_report
from qpsmtpd.digest.shadows import shadow_of
from qpsmtpd.testing import FakeStore
from tests.unit.decisions.examples import BEGIN, a_decision

HOUR = 3600.0
DAY = 24 * HOUR
HOSTILE = "\x1b[31m<script>alert(1)</script>&\"'\u202e\ud800"


def accepted(number: float = 0, **changes: Any) -> Decision:
    """A message that was accepted, so many seconds after the beginning."""
    given = {
        "outcome": "accepted",
        "plugin": "queue/maildir",
        "reply": "250 2.6.0 Queued",
        "reason": "",
        "trail": (),
        **changes,
    }
    return a_decision(**given)._replace(time=BEGIN + number)


def put_off(number: float = 0, **changes: Any) -> Decision:
    """A sender that was deferred at MAIL."""
    decision = accepted(number)._replace(
        outcome="deferred",
        hook="mail",
        plugin="greylisting",
        reply="451 4.7.1 This mail is temporarily denied",
        sender="",
        about="Sender@Client.example",
        recipients=(),
        recipient_count=0,
        size=0,
    )
    return decision._replace(**changes)


def said(outcome: str = "shadow", **changes: Any) -> Said:
    """An objection without an effect."""
    return Said("rcpt", "dnsbl", outcome, "deny", "listed", 0.01)._replace(**changes)


async def book_of(decisions: Iterable[Decision]) -> Book:
    """A book with these decisions, in chunks of up to seven."""
    book = Book(FakeStore())
    chunk: list[Decision] = []
    for decision in sorted(decisions, key=lambda each: each.time):
        if chunk and (len(chunk) == 7 or decision.time >= chunk[0].time + CHUNK_SECONDS):
            await _write(book, chunk)
            chunk = []
        chunk.append(decision)
    await _write(book, chunk)
    return book


async def _write(book: Book, decisions: list[Decision]) -> None:
    if decisions:
        chunk = Chunk.of(decisions[0].time, [decision.encode() for decision in decisions])
        state = await book.begin(len(chunk.packed), 30)
        await book.put(state.end - 1, chunk.encode(state.written - len(chunk.packed)), 30)


async def digest_of(
    *decisions: Decision, since: float = 0, seconds: float = DAY, rows: int = 10, **more: Any
) -> Digest:
    """The digest of so many seconds, since so many after the beginning."""
    begin = BEGIN + since
    return await gather(
        await book_of(decisions),
        Selection(since=begin, until=begin + seconds, **more),
        now=begin + seconds,
        host="mx.example",
        privacy=Privacy(),
        rows=rows,
    )


async def shadow_with(
    *decisions: Decision, directory: Path | None = None, chains: Path | None = None
) -> Shadow:
    """What would have been refused within a day after the beginning."""
    return await shadow_of(
        await book_of(decisions),
        Selection(since=BEGIN),
        ConfigFiles([directory] if directory else []),
        now=BEGIN + DAY,
        host="mx.example",
        privacy=Privacy(),
        chains=chains or Path("/nowhere"),
    )


async def a_digest(*, hostile: str = HOSTILE) -> Digest:
    """With everything that a report can show."""
    return await digest_of(
        a_decision(-int(DAY)),
        a_decision(1, sender=f"{hostile}@{hostile}", helo=hostile, reply=f"550 {hostile}"),
        a_decision(2, hook="rcpt", about=hostile, plugin=hostile, recipients=()),
        a_decision(3, ip=hostile, reply="554 5.7.1 no"),
        put_off(10, about="late@x.example"),
        accepted(HOUR, sender="late@x.example", size=123_456_789),
        accepted(5, trail=(said("fault", plugin=hostile, seconds=2.0, reason=hostile),)),
    )


async def a_report(kind: str) -> Report:
    if kind == "daily":
        return daily(await a_digest())
    objection = said(reason=HOSTILE, plugin=HOSTILE)
    return shadow_report(await shadow_with(accepted(1, trail=(objection,), sender=HOSTILE)))


def parsed(text: str) -> Any:
    """The tree of a page that has no mistakes."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(text)


def texts_of(report: Report) -> Iterator[str]:
    for section in report.sections:
        yield from (section.title, *section.paragraphs, *section.lines)
        yield from (text for row in section.rows for text in row)
