# SPDX-License-Identifier: MIT
"""Reloads under load: of the same configuration, of others, a broken one; of certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.continuity.service import Way, name, serving
from tests.continuity.sink import Sink
from tests.continuity.stream import MESSAGES

Report = Callable[[object], None]

RELOADS = 12


async def test_reload(way: Way, tmp_path: Path, report: Report) -> None:
    """In turn: nothing new, a longer chain, a broken file, the first chain."""
    async with serving(tmp_path, *way) as service:
        plugins = (tmp_path / "plugins").read_text()
        chains = (plugins, f"count_unrecognized_commands 4\n{plugins}", "nonsense\n", plugins)
        async with service.streaming() as stream:
            for turn in range(RELOADS):
                service.configure("plugins", chains[turn % len(chains)])
                await service.reload()
                await stream.more(MESSAGES // RELOADS)
        account = stream.tally.account(name(f"{RELOADS} reloads", way), service.delivered())
        report(account)
        assert account.problems() == []
        assert account.tally.told == 0
        assert service.log.count("the old configuration stays in use") == RELOADS // 4


async def test_reload_with_another_server_behind(tmp_path: Path, report: Report) -> None:
    """Handed over by SMTP, whose connections are kept and closed with their configuration."""
    async with (
        Sink() as sink,
        serving(
            tmp_path, "asyncio", 2, queue=f"queue/smtp-forward 127.0.0.1 {sink.port}"
        ) as service,
    ):
        async with service.streaming() as stream:
            for _ in range(RELOADS):
                await service.reload()
                await stream.more(MESSAGES // RELOADS)
        event = f"{RELOADS} reloads, smtp-forward"
        account = stream.tally.account(event, sink.delivered)
        report(account)
        assert account.problems() == []
        assert account.tally.told == 0


async def test_certificate_change(way: Way, tmp_path: Path, report: Report) -> None:
    """Who connects after the reload sees the new certificate; nobody notices the change."""
    changes = 5
    async with serving(tmp_path, *way) as service:
        shown = [service.new_certificate()]
        await service.reload()
        async with service.streaming() as stream:
            for _ in range(changes):
                shown.append(service.new_certificate())
                await service.reload()
                stream.epoch += 1
                await stream.more(MESSAGES // changes)
        event = name(f"{changes} certificate changes", way)
        account = stream.tally.account(event, service.delivered())
        report(account)
        assert account.problems() == []
        with_tls = [s for s in stream.tally.sessions if s.certificate is not None]
        age = {certificate: number for number, certificate in enumerate(shown)}
        stale = [s for s in with_tls if age.get(s.certificate or b"", -1) < s.epoch]
        assert not stale, f"{len(stale)} of {len(with_tls)} saw an old certificate"
        assert {s.epoch for s in with_tls} == set(range(changes + 1))
