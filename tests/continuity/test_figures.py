# SPDX-License-Identifier: MIT
"""What the daemon counts and keeps agrees with what clients and the mail system have seen.

Counters are exact, whatever happens: they are in memory that outlives a worker.  Decisions are
written every other second, so those that a worker holds are lost when it is killed; what it has
written stays, and all of the workers that live and of reloads is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.reading import Reading, read
from qpsmtpd.metrics.status import status_of
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from tests.continuity.service import Way, name, serving
from tests.continuity.stream import MESSAGES, message
from tests.continuity.test_crash import excused, replaced

Report = Callable[[object], None]

EVENTS = 5
_WITH_ID = re.compile(r" with E?SMTPS? id (\S+);")


@contextmanager
def figures(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a daemon that is started within keeps its figures."""
    place = directory / "run"
    place.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    (directory / "store").write_text(f"{directory}/store.sqlite\n")
    # What a machine that stands still for a second does not write in time would not be kept.
    (directory / "store_timeout").write_text("60\n")
    yield place / "figures"


@asynccontextmanager
async def book_in(directory: Path) -> AsyncIterator[Book]:
    """The decisions that a daemon keeps there."""
    store = shared_store(parse_location(f"{directory}/store.sqlite"), 10)
    try:
        yield Book(store)
    finally:
        await store.close()


async def kept(book: Book, enough: Callable[[list[Decision]], bool]) -> list[Decision]:
    """What the store has, as soon as that is enough: it is written every other second."""
    while not enough(found := [decision async for decision in book.oldest_first()]):
        pass
    return found


async def printed(directory: Path, *words: str) -> list[str]:
    """What a command prints about this daemon."""
    command = (sys.executable, "-m", "qpsmtpd", *words, "--config", str(directory))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().splitlines()


async def sums(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """How many were accepted, deferred and refused: in the log of decisions, and in the report."""
    log = await printed(directory, "log", "--format", "json")
    report = await printed(directory, "report", "--format", "json")
    totals: dict[str, int] = json.loads(report[0])["totals"]
    counted = Counter(json.loads(line)["outcome"] for line in log)
    return {outcome: counted[outcome] for outcome in totals}, totals


def transactions_in(maildir: Path) -> set[str]:
    """The ids that the Received fields of what was delivered name."""
    found = (_WITH_ID.search(path.read_text()) for path in (maildir / "new").iterdir())
    return {match[1] for match in found if match}


def worker_of(id_: str) -> int:
    """The process that gave this id to a transaction."""
    return int(id_.split(".")[1], 16)


def accepted(reading: Reading) -> int:
    return int(reading.number(catalogue.MESSAGES, "accepted"))


async def test_reloads_and_refusals(
    way: Way, tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sums are the same: clients, Maildir, counters, status, answers, log and report."""
    with figures(tmp_path, monkeypatch) as path:
        async with serving(tmp_path, *way) as service:
            async with service.streaming() as stream:
                for _ in range(EVENTS):
                    await service.reload()
                    await stream.more(MESSAGES // EVENTS)
            client = await service.held()
            await client.command("MAIL FROM:<a@client.example>", 250)
            await client.command("RCPT TO:<user@elsewhere.test>", 550)
            delivered = len(service.delivered())
            reading = read(path)
            assert accepted(reading) == len(stream.tally.accepted) == delivered
            answers = reading.numbers[catalogue.PLUGIN_ANSWERS]
            assert answers["queue/maildir", "queue", "accept"] == delivered
            assert answers["rcpt_ok", "rcpt", "accept"] == delivered
            assert answers["rcpt_ok", "rcpt", "deny"] == 1
            assert reading.number(catalogue.REFUSALS, "rcpt_ok", "rcpt", "refused") == 1
            status = status_of(reading)
            assert status.messages == {"accepted": delivered, "deferred": 0, "refused": 0}
            assert status.reloads["used"] == EVENTS
            assert len(status.workers) == way[1]
            client.close()
            async with book_in(tmp_path) as book:
                await kept(book, lambda found: len(found) > delivered)
            wanted = {"accepted": delivered, "deferred": 0, "refused": 1}
            assert await sums(tmp_path) == (wanted, wanted)
            report(f"{name('figures after reloads', way)}: {delivered} messages, all sums the same")


async def test_workers_are_killed(
    loop: str, tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message that a client had a 250 for is missing, and none is counted that is not there."""
    with figures(tmp_path, monkeypatch) as path:
        async with serving(tmp_path, loop, 2) as service:
            killed: set[int] = set()
            async with service.streaming() as stream:
                for _ in range(EVENTS):
                    victim = service.daemon.children()[0]
                    before = accepted(read(path))
                    killed.add(victim)
                    os.kill(victim, signal.SIGKILL)
                    assert accepted(read(path)) >= before
                    stream.epoch += 1
                    await replaced(service, stream, killed)
                    await service.reload()
                    await stream.more(MESSAGES // EVENTS)
            delivered = service.delivered(killed=True)
            account = stream.tally.account("workers killed, reloads", delivered)
            assert account.problems(cut=excused(killed, stream.epoch)) == []
            reading = read(path)
            # What lies between is what a worker was at when it was killed.
            assert len(stream.tally.accepted) <= accepted(reading) <= len(delivered)
            assert reading.number(catalogue.WORKER_DEATHS) == EVENTS
            assert reading.number(catalogue.WORKERS) == 2
            await service.stop()
            arrived = transactions_in(tmp_path / "Maildir")
            async with book_in(tmp_path) as book:
                ids = [decision.id for decision in await kept(book, bool)]
            assert len(set(ids)) == len(ids) <= accepted(reading)
            assert set(ids) <= arrived
            # What is missing is what a worker had not written yet when it was killed.
            assert {worker_of(id_) for id_ in arrived - set(ids)} <= killed
            wanted = {"accepted": len(ids), "deferred": 0, "refused": 0}
            assert await sums(tmp_path) == (wanted, wanted)
            counted = accepted(reading)
            text = f"{counted} messages, {counted - len(ids)} of them not kept"
            report(f"figures after {EVENTS} workers killed ({loop}): {text}")


async def test_a_worker_is_killed_between_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the sums are exact, also of what is kept, once that is written."""
    with figures(tmp_path, monkeypatch) as path:
        async with serving(tmp_path, "asyncio", 2) as service:
            sent = 0
            for _ in range(3):
                client = await service.held()
                for _ in range(4):
                    await client.envelope()
                    client.send(message(f"m-{sent}", 200))
                    await client.reply(250)
                    sent += 1
                async with book_in(tmp_path) as book:
                    await kept(book, lambda found: len(found) >= sent)  # noqa: B023 (used at once)
                for victim in service.daemon.children():
                    os.kill(victim, signal.SIGKILL)
                client.close()
                while len(read(path).processes) < 2:
                    successor = await service.held()
                    successor.close()
            assert accepted(read(path)) == sent == len(service.delivered(killed=True))
            wanted = {"accepted": sent, "deferred": 0, "refused": 0}
            assert await sums(tmp_path) == (wanted, wanted)
