# SPDX-License-Identifier: MIT
"""Workers that are killed under load: one in the middle of a message, all at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.continuity.service import Service, serving
from tests.continuity.stream import MESSAGES, GoneError, Session, Stream, message

Report = Callable[[object], None]

KILLS = 5


async def replaced(service: Service, stream: Stream, killed: set[int]) -> None:
    """Wait until every worker is one that lives, and each serves."""
    while not _all_serve(service, stream, killed):
        await stream.more(1)


def _all_serve(service: Service, stream: Stream, killed: set[int]) -> bool:
    living = set(service.daemon.children()) - killed
    serving_now = {s.worker for s in stream.tally.sessions if s.epoch == stream.epoch}
    return len(living) == 2 and living <= serving_now


def excused(killed: set[int], last_epoch: int) -> Callable[[Session], bool]:
    """Who was in a worker that was killed; or in none that it knows of, when one was killed."""
    return lambda s: s.worker in killed or (s.worker is None and s.epoch < last_epoch)


async def test_a_worker_is_killed(loop: str, tmp_path: Path, report: Report) -> None:
    """Only its own sessions end, and in the middle of a message without a 250."""
    async with serving(tmp_path, loop, 2) as service:
        killed: set[int] = set()
        async with service.streaming() as stream:
            for number in range(KILLS):
                victim, survivor = service.daemon.children()
                cut_off = await service.held(in_worker=victim)
                lives_in_data, lives = [await service.held(in_worker=survivor) for _ in range(2)]
                for client in (cut_off, lives_in_data):
                    await client.envelope()
                    client.send(message(f"held-{number}", 200)[:-3])
                killed.add(victim)
                os.kill(victim, signal.SIGKILL)
                stream.epoch += 1
                cut_off.send(b".\r\n")
                with pytest.raises((GoneError, ConnectionError)):
                    await cut_off.reply(250)
                lives_in_data.send(b".\r\n")
                await lives_in_data.reply(250)
                await lives.command("NOOP", 250)
                await replaced(service, stream, killed)
                await stream.more(MESSAGES // KILLS)
                for client in (cut_off, lives_in_data, lives):
                    client.close()
        delivered = service.delivered(killed=True)
        held = [f"held-{number}" for number in range(KILLS)]
        stream.tally.accepted += held  # once by the client that lived, and by no other
        account = stream.tally.account(f"{KILLS} workers of 2 killed ({loop})", delivered)
        report(account)
        assert account.problems(cut=excused(killed, stream.epoch)) == []


async def test_all_workers_are_killed(loop: str, tmp_path: Path, report: Report) -> None:
    """The supervisor holds the sockets: whoever connects waits for the next worker."""
    async with serving(tmp_path, loop, 2) as service:
        killed: set[int] = set()
        async with service.streaming() as stream:
            for _ in range(3):
                for victim in service.daemon.children():
                    killed.add(victim)
                    os.kill(victim, signal.SIGKILL)
                stream.epoch += 1
                await replaced(service, stream, killed)
                await stream.more(MESSAGES // 4)
        event = f"3 times all workers killed ({loop})"
        account = stream.tally.account(event, service.delivered(killed=True))
        report(account)
        assert account.problems(cut=excused(killed, stream.epoch)) == []


async def test_a_worker_is_killed_while_the_configuration_is_broken(
    tmp_path: Path, report: Report
) -> None:
    """The other one serves, and the next one comes with the next good reload."""
    async with serving(tmp_path, "asyncio", 2) as service:
        plugins = (tmp_path / "plugins").read_text()
        async with service.streaming() as stream:
            service.configure("plugins", "nonsense")
            victim = service.daemon.children()[0]
            os.kill(victim, signal.SIGKILL)
            stream.epoch += 1
            await stream.more(MESSAGES // 2)
            service.configure("plugins", plugins)
            await service.reload()
            await replaced(service, stream, {victim})
            await stream.more(MESSAGES // 4)
        event = "a worker killed with a broken configuration"
        account = stream.tally.account(event, service.delivered(killed=True))
        report(account)
        assert account.problems(cut=excused({victim}, stream.epoch)) == []
        assert "there is no plugin nonsense" in service.log
