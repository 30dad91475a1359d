# SPDX-License-Identifier: MIT
"""`qpsmtpd try` answers as the running daemon: every script here, and messages of all kinds."""

from __future__ import annotations

import asyncio
import random
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from qpsmtpd.dialogue.player import parse
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.testing import DEFAULT_FILES, FakeResolver, Records, Serving
from qpsmtpd.trial.course import Course, Step
from qpsmtpd.trial.envelope import Attempt
from qpsmtpd.trial.playing import play_script
from qpsmtpd.trial.stage import Stage, staged
from tests.dialogue.test_dialogues import (
    LONGEST,
    RECORDS,
    SCRIPTS,
    certificate,
    filled_in,
    short_times,
)

__all__ = ["certificate", "short_times"]

#: What a trial cannot know: that the handover, which it leaves out, is refused or fails.
HANDOVER_FAILS = {
    *("message_undelivered", "aiosmtpd_accepts", "aiosmtpd_exception", "aiosmtpd_slips")
}
PLAYED = [path for path in SCRIPTS if path.stem not in HANDOVER_FAILS]
#: What a next hop says; nobody says it here.
_taken = re.compile(r"^(\d?S: 250 2\.)[06]\.0 .*$", re.MULTILINE)


def configured(directory: Path, files: Mapping[str, Sequence[str]]) -> Path:
    """A directory with these files, as `serve` makes it."""
    directory.mkdir()
    for name, lines in {**DEFAULT_FILES, **files}.items():
        text = "".join(f"{line.replace('{directory}', str(directory))}\n" for line in lines)
        (directory / name).write_text(text)
    return directory


def files_in(directory: Path) -> set[Path]:
    """What is there, apart from what Python compiles."""
    return {path for path in directory.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
async def test_scripts(path: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    script = parse(_taken.sub(r"\1*", path.read_text()), str(path))
    files = filled_in(script, tmp_path, certificate)
    directory = configured(tmp_path / "config", files)
    before = files_in(tmp_path)
    resolver = FakeResolver(RECORDS)
    async with asyncio.timeout(LONGEST):
        async with staged([directory], {}, resolver=resolver, limits=True) as stage:
            await play_script(stage, script, Course(path.stem))
    # A handler of aiosmtpd may make its directory; a message is in none.
    assert files_in(tmp_path) == before


# --- messages -------------------------------------------------------------------------------

#: A chain in which everything has something to say.
CHAIN = {
    "plugins": [
        "karma reject 1",
        "helo policy=lenient reject 1",
        "fcrdns reject 0",
        "dnsbl",
        "earlytalker wait 0",
        "badmailfrom",
        "badrcptto",
        "sender_permitted_from reject 3",
        "dkim",
        "dmarc reject 1",
        "resolvable_fromhost",
        "rhsbl",
        "greylisting suspects=nameless",
        "rcpt_ok",
        "headers reject 1 require From,Date",
        "loop",
        "bogus_bounce reject 1",
        "uribl",
        "queue/discard",
    ],
    "dnsbl_zones": ["bl.example"],
    "rhsbl_zones": ["rhsbl.example"],
    "uribl_zones": ["uribl.example"],
    "badmailfrom": ["bad@sender.example", "@worse.example"],
    "badrcptto": ["nobody@example.test"],
    "rcpthosts": ["example.test"],
    "reverse_lookup": ["yes"],
    "databytes": ["20000"],
}
CLIENTS = [f"192.0.2.{number}" for number in range(1, 13)]
SENDERS = ["sender.example", "spf.example", "worse.example", "nothere.example", "listed.example"]
DNS: Records = {
    **{("PTR", f"192.0.2.{n}"): [f"c{n}.client.example"] for n in range(1, 9)},
    **{("A", f"c{n}.client.example"): [f"192.0.2.{n}"] for n in range(1, 7)},
    **{("MX", name): [(10, f"mx.{name}")] for name in SENDERS if name != "nothere.example"},
    **{("A", f"mx.{name}"): ["198.51.100.7"] for name in SENDERS},
    ("TXT", "spf.example"): ["v=spf1 ip4:192.0.2.1 -all"],
    ("TXT", "_dmarc.spf.example"): ["v=DMARC1; p=reject"],
    ("TXT", "broken.example"): OSError("never raised by a resolver"),
    ("A", "7.2.0.192.bl.example"): ["127.0.0.2"],
    ("TXT", "7.2.0.192.bl.example"): ["listed"],
    ("A", "listed.example.rhsbl.example"): ["127.0.0.2"],
    ("A", "spam.example.uribl.example"): ["127.0.0.2"],
    ("A", "client.example"): ["192.0.2.1"],
}


def attempts(count: int) -> Iterator[Attempt]:
    """Messages of all kinds, the same in every run."""
    dice = random.Random(14)
    for number in range(count):
        domain = dice.choice(SENDERS)
        sender = dice.choices(
            ["", f"bad@{domain}", f"someone@{domain}", f"\u00fc@{domain}"], [2, 1, 9, 1]
        )[0]
        choices = ["user@example.test", "nobody@example.test", "x@elsewhere.example", "broken"]
        recipients = dice.choices(choices, [20, 1, 1, 1], k=dice.randint(1, 3))
        yield Attempt(
            name=f"message {number}",
            ip=dice.choice(CLIENTS),
            helo=dice.choices(["client.example", "localhost", "mx.example", "x"], [9, 1, 1, 1])[0],
            sender=sender,
            recipients=tuple(recipients),
            message=a_message(dice, domain),
            old_helo=dice.random() < 0.2,
        )


def a_message(dice: random.Random, domain: str) -> bytes:
    fields = [
        f"From: <someone@{dice.choice([domain, 'other.example'])}>",
        f"Date: {dice.choice(['Mon, 30 Nov 2026 10:00:00 +0000', 'yesterday'])}",
        f"Subject: {'x' * dice.choice([1, 50, 900])}",
        *(["Delivered-To: user@example.test"] * dice.choice([0, 0, 120])),
        "Message-ID: <1@example.test>",
    ]
    dice.shuffle(fields)
    lines = fields[: dice.choice([2, 3, len(fields)])]
    bodies = ["Hello.", "..dots\r\n.", "http://spam.example/", "\u00fc" * 40, "a\rb", "y" * 30_000]
    return ("\r\n".join(lines) + "\r\n\r\n" + dice.choice(bodies) + "\r\n").encode()


class Daemon(Stage):
    """The running daemon in place of a stage; a PROXY header says who the client is."""

    def __init__(self, serving: Serving) -> None:
        self.password = ""
        self._serving = serving

    async def connect(
        self, client: Endpoint | None = None, *, implicit_tls: bool = False, lmtp: bool = False
    ) -> tuple[StreamReader, StreamWriter]:
        assert client is not None
        reader, writer = await asyncio.open_connection(self._serving.host, self._serving.port)
        writer.write(f"PROXY TCP4 {client.ip} 127.0.0.1 {client.port} 25\r\n".encode())
        return reader, writer


def replies(course: Course) -> list[tuple[str, str]]:
    """What the client got to read; of the last reply, what does not come from the next hop."""
    return [(step.stage, "250" if is_taken(step) else step.reply[:9]) for step in course.steps]


def is_taken(step: Step) -> bool:
    return step.stage == "message" and step.code == 250
