# SPDX-License-Identifier: MIT
"""What commands cost with many decisions in the store.

    .venv/bin/python -m tests.bench.manydecisions [NUMBER [DIRECTORY]]

writes a store of that number, spread over two weeks, unless DIRECTORY has one, and runs each
command in a process of its own: seconds of CPU time, seconds, the most memory, and its exit status.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from qpsmtpd.decisions.book import FULL, Book, Chunk
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.unit.decisions.examples import a_decision

NUMBER = 1_000_000
DAYS = 14
_DAY = 86400

COMMANDS: Sequence[tuple[str, ...]] = (
    ("log",),
    ("log", "--since", "1h"),
    ("log", "--outcome", "deferred", "--address", "nobody@example.test"),
    ("explain", "last", "refused", "for", "example.test"),
    ("explain", "nobody@example.test"),
    ("report", "--since", "1d"),
    ("report", "--since", "14d", "--format", "html"),
    ("report", "--shadow", "--since", "14d"),
    ("log", "--format", "csv"),
)


def main(number: int, directory: Path) -> None:
    """Write, and measure."""
    file = directory / "store.sqlite"
    configure(directory)
    if not file.exists():
        begun = time.monotonic()
        asyncio.run(write(file, number))
        print(f"{number} decisions, {file.stat().st_size >> 20} MB", end=", ")
        print(f"written in {time.monotonic() - begun:.0f} s")
    for words in COMMANDS:
        print(measured(words, directory), flush=True)


def configure(directory: Path) -> None:
    """A configuration that has this store, and no log."""
    (directory / "me").write_text("mx.example\n")
    (directory / "store").write_text(f"{directory}/store.sqlite\n")
    (directory / "logging").write_text("logging/warn\n")


async def write(file: Path, number: int) -> None:
    """A store of that many decisions."""
    store = shared_store(parse_location(str(file)), 60)
    book = Book(store)
    begin, step = time.time() - DAYS * _DAY, DAYS * _DAY / number
    for start in range(0, number, FULL):
        texts = [a_text(each, begin + each * step) for each in range(start, start + FULL)]
        chunk = Chunk.of(begin + start * step, texts)
        state = await book.begin(len(chunk.packed), 2 * DAYS)
        data = chunk.encode(state.written - len(chunk.packed))
        await book.put(state.end - 1, data, 2 * DAYS)
    await store.close()


def a_text(number: int, moment: float) -> str:
    """One of many different decisions: one in three messages is accepted."""
    kind = number % 3
    return a_decision(
        time=moment,
        id=f"6B0C.{number:X}.1.1",
        outcome=("accepted", "refused", "deferred")[kind],
        plugin=("queue/maildir", "spamassassin", "greylisting")[kind],
        reply=("250 2.0.0 OK", "552 5.7.1 spam score exceeded threshold", "451 4.7.1 later")[kind],
        ip=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        sender=f"from{number // 7}@client{number % 5000}.example",
        recipients=(f"to{number % 3001}@example.test",),
        message_id=f"<{hash((number,)):x}@client.example>",
        results=("dmarc=pass", "", "")[number % 7 % 3],
    ).encode()


def measured(words: Sequence[str], directory: Path) -> str:
    """What a command costs."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "qpsmtpd", *words, "--config", str(directory)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    child = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 1)]
    )
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    shown = f"{seconds:7.1f} s CPU {time.monotonic() - begun:7.1f} s {usage.ru_maxrss >> 10:5} MB"
    return f"{shown}  {os.waitstatus_to_exitcode(status)}  qpsmtpd {' '.join(words)}"


if __name__ == "__main__":
    given = sys.argv[1:]
    count = int(given[0]) if given else NUMBER
    with tempfile.TemporaryDirectory() as scratch:
        main(count, Path(given[1] if len(given) > 1 else scratch))
