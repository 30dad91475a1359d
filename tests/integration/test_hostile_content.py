# SPDX-License-Identifier: MIT
"""Messages that are made to cost a filter its time or to hide from it, through the strictest chain.

Each gets the answer that it should have: links do not hide behind structure and encodings, what
exceeds a limit is refused, and what is only odd is taken.  Good mail meanwhile is taken as well.
Where a scanner gives up, the message may be deferred.
"""

from __future__ import annotations

import asyncio
import base64
import time
from asyncio import events
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qpsmtpd.testing import FakeClock
from tests.integration.mixed import mixed_mail
from tests.integration.mixed.world import LINK_LIST, Sample
from tests.integration.test_mixed_mail import chain_of, reply_to, serving
from tests.scanner_servers import real_clamd, real_rspamd, real_spamd
from tests.unit.client import catcher

#: Seconds of CPU time for which one of them may hold the loop; they take a tenth of it.
HELD = 0.5

MIXED = "Content-Type: multipart/mixed; boundary="
LISTED = next(
    name.removesuffix(f".{LINK_LIST}")
    for kind, name in mixed_mail()[1].records
    if kind == "A" and name.endswith(f".{LINK_LIST}")
)
LINK = f"http://{LISTED}/\n"
HTML = "Content-Type: text/html; charset=utf-8\n"
QUOTED = f"{HTML}Content-Transfer-Encoding: quoted-printable\n"
REFERENCES = f"<a href='ht&#116;p://{LISTED}'>\n"


def in_each_other(head: str, text: str, levels: int) -> str:
    """An attached message in an attached message, and so on, all of them encoded."""
    fields = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
    for _ in range(levels):
        text = fields + base64.encodebytes(f"{head}\n{text}".encode()).decode()
    return text


def level(number: int) -> str:
    """A multipart whose first part is to follow."""
    return f"{MIXED}b{number}\n\n--b{number}\n"


def prefix(length: int) -> str:
    """The same; its boundary is the beginning of longer ones."""
    return f"{MIXED}{'b' * length}\n\n--{'b' * length}\n"


def soft(text: str) -> str:
    """Each character on a line of its own, of which a reader of quoted-printable sees nothing."""
    return "=\n".join(text)


#: By name: the code that is due, and what follows the usual header fields.
HOSTILE: dict[str, tuple[str, str]] = {
    "100,000 parts": ("552", f"{MIXED}b\n\n" + "--b\n\nx\n" * 100_000 + LINK),
    "1000 levels of parts": ("552", "".join(map(level, range(1000))) + f"\n{LINK}"),
    "5000 attached messages": ("552", "Content-Type: message/rfc822\n\n" * 5000 + f"\n{LINK}"),
    "encoded 12 times": ("250", in_each_other("Subject: x", "Hello.\n", 12)),
    "a boundary without end": ("250", f"{MIXED}{'b' * 20_000}\n\n--b\n\nHello.\n"),
    "boundaries that are prefixes": (
        "250",
        "".join(map(prefix, range(1, 40))) + "--b" * 9000 + "\n",
    ),
    "a line of 1 MB": ("550", f"\n{'x' * 1_000_000}\n"),
    "lines of 60 KB": ("552", "\n" + ("x" * 60_000 + "\n") * 30 + LINK),
    "soft line ends": ("552", f"{QUOTED}\n" + "=\n" * 300_000 + soft(LINK)),
    "references to characters": ("552", f"{HTML}\n" + "&#x26;#38;&amp;\n" * 60_000 + REFERENCES),
    "100,000 links": ("250", "\n" + "".join(f"http://h{n}.example/\n" for n in range(100_000))),
    "half a tag, often": ("250", f"{HTML}\n" + "<a href='http://\n" * 60_000),
    "a charset that is none": ("250", f"Content-Type: text/plain; charset={'x' * 900}\n\nHi.\n"),
    "900 header fields": ("250", "".join(f"X-{n}: =?x?q?=41?= (\n" for n in range(900)) + "\nx\n"),
    "2000 header fields": ("552", "X: y\n" * 2000 + "\nx\n"),
    "a field of 70 KB": ("250", "X-Long:" + " word" * 20 + "\n\tword" * 10_000 + "\n\nx\n"),
    "parameters without end": ("250", "Content-Type: text/plain" + ";\n a=b" * 10_000 + "\n\nx\n"),
    "comments in comments": ("250", f"To: {'(' * 50_000}\n\nx\n"),
    "lines that are no fields": ("250", "no field\n: none\n\xe9: x\n\nx\n"),
}


def hostile(number: int, text: str, like: Sample) -> Sample:
    """A message from who sends the good one."""
    author = like.sender.rpartition("@")[2]
    head = f"From: a@{author}\nDate: Thu, 26 Nov 2026 10:00:00 +0100\nSubject: hostile {number}\n"
    return replace(like, message=(head + text).replace("\n", "\r\n").encode())


@contextmanager
def holding() -> Iterator[list[tuple[float, str]]]:
    """Seconds of CPU time of everything that asyncio's loop calls, and what it is."""
    found: list[tuple[float, str]] = []
    run = events.Handle._run

    def timed(handle: events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        found.append((time.thread_time() - began, repr(handle)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events.Handle, "_run", timed)
        yield found


async def judged(directory: Path, scanners: dict[str, str]) -> None:
    good = next(sample for sample in mixed_mail()[0] if sample.kind == "company")
    with pytest.MonkeyPatch.context() as patch:
        chain = chain_of("strict", directory, patch, scanners)
        async with serving(chain, directory, patch, FakeClock()) as server:
            replies: dict[str, str] = {}
            with holding() as held:
                for number, (name, (_, text)) in enumerate(HOSTILE.items()):
                    replies[name], taken = await asyncio.gather(
                        reply_to(hostile(number, text, good), server), reply_to(good, server)
                    )
                    assert taken.startswith("250"), f"{taken} meanwhile {name}"
            messages = len(catcher(server).messages)
    longest, what = max(held)
    print(f"the loop was held for {longest * 1000:.0f} ms of CPU time at most: {what}")
    instead = ("451 4.3.0",) if scanners else ()
    wrong = {n: r for n, r in replies.items() if not r.startswith((HOSTILE[n][0], *instead))}
    assert wrong == {}
    assert messages == len(HOSTILE) + sum(reply.startswith("250") for reply in replies.values())
    assert longest < HELD


async def test_hostile_messages(tmp_path: Path) -> None:
    await judged(tmp_path, {})


@pytest.mark.real_systems
async def test_hostile_messages_with_scanners(tmp_path: Path) -> None:
    with real_clamd() as clamd, real_rspamd() as rspamd, real_spamd() as spamd:
        scanners = {
            "virus/clamdscan": f"clamd_socket {clamd.place}",
            "rspamd": f"server {rspamd.place}",
            "spamassassin": f"spamd_socket {spamd.place}",
        }
        await judged(tmp_path, scanners)
