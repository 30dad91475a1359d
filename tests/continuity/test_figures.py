# SPDX-License-Identifier: MIT
"""What the daemon counts agrees with what clients and the mail system have seen."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.reading import Reading, read
from qpsmtpd.metrics.status import status_of
from tests.continuity.service import Way, name, serving
from tests.continuity.stream import MESSAGES, message
from tests.continuity.test_crash import excused, replaced

Report = Callable[[object], None]

EVENTS = 5


@contextmanager
def figures(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a daemon that is started within keeps its figures."""
    place = directory / "run"
    place.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    yield place / "figures"


def accepted(reading: Reading) -> int:
    return int(reading.number(catalogue.MESSAGES, "accepted"))


async def test_reloads_and_refusals(
    way: Way, tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sums are the same: clients, Maildir, counters, status, answers of plugins."""
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
            report(f"figures after {EVENTS} workers killed ({loop}): {accepted(reading)} messages")


async def test_a_worker_is_killed_between_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the sums are exact."""
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
                for victim in service.daemon.children():
                    os.kill(victim, signal.SIGKILL)
                client.close()
                while len(read(path).processes) < 2:
                    successor = await service.held()
                    successor.close()
            assert accepted(read(path)) == sent == len(service.delivered(killed=True))
