# SPDX-License-Identifier: MIT
"""500 good and bad messages through each of the graded chains: what is caught, what is lost.

Clients of good messages try again after a 4xx, an hour later, as mail servers do.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from maintscripts.render import LEVELS, render_chain
from qpsmtpd.config import loader, units
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.testing import FakeClock, FakeStore, Serving, serve
from tests.dns_server import DnsServer
from tests.integration.mixed import mixed_mail
from tests.integration.mixed.bad_mail import BAD
from tests.integration.mixed.world import LISTS, US, Sample
from tests.scanner_servers import real_clamd, real_rspamd, real_spamd
from tests.unit.client import PATIENCE, Client, catcher, catching

HOUR = 3600.0
ATTEMPTS = 3

#: Sessions at a time: few, so that none waits for the others for long.
AT_ONCE = 8

#: Those who talk early do it before this, and to wait for all others would take minutes.
SHORT = {"earlytalker": "wait 0.01"}

#: What each level has over the one before it: kinds of which nothing gets through.
CAUGHT = {
    "minimal": {"wrong_hello", "known_hello", "circle"},
    "standard": {
        *{"listed_client", "listed_sender", "listed_link", "weakly_listed"},
        *{"bot_at_home", "nameless_bot", "forged_readers"},
    },
    "strict": {
        *{"early_talker", "forged", "ratware", "bogus_bounces", "unanswerable", "nonsense"},
    },
}
#: What only scanners see, in a chain that has them.
SCANNED = {"virus", "spam"}
#: What nothing here sees.
UNSEEN = {"lookalike", "snowshoe"}

#: Kinds of good mail of which a level may refuse some, as its file says.
LOST = {
    # The author's domain wants a refusal (p=reject), and the list has changed the message.
    "strict": {"mailing_list"},
}


class Memory(FakeStore):
    """A store whose time is that of the test."""

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Outcomes:
    """The last reply to each sample, and how many attempts it took."""

    replies: dict[Sample, tuple[str, int]]

    def lost(self) -> list[tuple[Sample, str]]:
        """Good samples that were refused."""
        replies = self.replies.items()
        return [(s, reply) for s, (reply, _) in replies if s.good and reply[:1] != "2"]

    def delayed(self) -> Counter[str]:
        """How many good samples of each kind had to be sent again."""
        return Counter(s.kind for s, (_, attempts) in self.replies.items() if attempts > 1)

    def caught(self) -> Counter[str]:
        """How many bad samples of each kind were not accepted."""
        replies = self.replies.items()
        return Counter(s.kind for s, (reply, _) in replies if not s.good and reply[:1] != "2")

    def table(self, level: str) -> str:
        """All of it, to be printed."""
        good = sum(sample.good for sample in self.replies)
        caught, lost = self.caught(), self.lost()
        lines = [
            f"{level}: caught {caught.total()} of {len(self.replies) - good} bad messages, "
            f"refused {len(lost)} of {good} good ones, delayed {self.delayed().total()}"
        ]
        lines += [f"  caught   {kind:16} {caught[kind]:3}" for kind in BAD]
        lines += [f"  delayed  {kind:16} {n:3}" for kind, n in self.delayed().items()]
        lines += [f"  refused  {sample.kind:16} {reply!r}" for sample, reply in lost]
        return "\n".join(lines)


def test_the_samples() -> None:
    samples, _ = mixed_mail()
    assert len(samples) == len({sample.message for sample in samples}) == 500
    assert sum(sample.good for sample in samples) == 300
    assert set(BAD) == set().union(*CAUGHT.values(), SCANNED, UNSEEN)


@pytest.mark.parametrize("level", LEVELS)
async def test_a_chain(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = await sent(level, tmp_path, monkeypatch, {})
    judge(level, outcomes, set())


@pytest.mark.real_systems
@pytest.mark.parametrize("level", ["standard", "strict"])
async def test_a_chain_with_scanners(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with real_clamd() as clamd, real_rspamd() as rspamd, real_spamd() as spamd:
        scanners = {
            "virus/clamdscan": f"clamd_socket {clamd.place}",
            "rspamd": f"server {rspamd.place}",
            "spamassassin": f"spamd_socket {spamd.place}",
        }
        outcomes = await sent(level, tmp_path, monkeypatch, scanners)
    judge(level, outcomes, SCANNED)


def judge(level: str, outcomes: Outcomes, scanned: set[str]) -> None:
    print(outcomes.table(level))
    assert {sample.kind for sample, _ in outcomes.lost()} <= LOST.get(level, set())
    levels = LEVELS[: LEVELS.index(level) + 1]
    kinds = scanned.union(*(CAUGHT[each] for each in levels))
    each = Counter(sample.kind for sample in outcomes.replies if sample.kind in kinds)
    assert outcomes.caught() == each
    delayed = {"nameless_server", "server_at_home", "short_hello"}
    assert set(outcomes.delayed()) == (set() if level == "minimal" else delayed)


def chain_of(
    level: str, directory: Path, monkeypatch: pytest.MonkeyPatch, scanners: Mapping[str, str]
) -> list[str]:
    """The lines of a chain; scanners are enabled, and have options."""
    wants = directory / "units/multi-user.target.wants"
    wants.mkdir(parents=True)
    for unit in ("clamav-daemon", "rspamd", "spamd") if scanners else ():
        (wants / f"{unit}.service").touch()
    monkeypatch.setattr(units, "DIRECTORIES", (wants.parent,))
    options = {**SHORT, **scanners}
    return [
        f"{line} {options.get(line.partition(' ')[0], '')}"
        for line in render_chain(level).splitlines()
    ]


async def sent(
    level: str, directory: Path, monkeypatch: pytest.MonkeyPatch, scanners: Mapping[str, str]
) -> Outcomes:
    """Send all samples to a server with this chain."""
    chain = chain_of(level, directory, monkeypatch, scanners)
    clock = FakeClock()
    async with serving(chain, directory, monkeypatch, clock) as server:
        outcomes = await in_rounds(server, mixed_mail()[0], clock)
        taken = [reply for reply, _ in outcomes.replies.values() if reply.startswith("2")]
        assert len(catcher(server).messages) == len(taken)
    return outcomes


@asynccontextmanager
async def serving(
    chain: Sequence[str], directory: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> AsyncIterator[Serving]:
    monkeypatch.setattr(loader, "new_store", lambda *_: Memory(clock))
    files = {
        **catching(directory, "relay", *chain, "rcpt_ok"),
        **LISTS,
        "rcpthosts": [US],
        "proxy_networks": ["127.0.0.1"],
        "reverse_lookup": ["yes"],
    }
    async with DnsServer(mixed_mail()[1].records) as name_server:
        resolver = DnsResolver([name_server.address], timeout=PATIENCE, lifetime=PATIENCE)
        try:
            async with serve(files, dns=resolver) as server:
                yield server
        finally:
            await resolver.close()


async def in_rounds(server: Serving, samples: Sequence[Sample], clock: FakeClock) -> Outcomes:
    """Send each sample, and again what was deferred if its client does that."""
    outcomes = Outcomes({})
    slots = asyncio.Semaphore(AT_ONCE)

    async def attempt(sample: Sample, number: int) -> None:
        async with slots:
            outcomes.replies[sample] = await reply_to(sample, server), number

    waiting: Sequence[Sample] = samples
    for number in range(1, ATTEMPTS + 1):
        await asyncio.gather(*(attempt(sample, number) for sample in waiting))
        replies = outcomes.replies.items()
        waiting = [s for s, (reply, _) in replies if s.retries and reply.startswith("4")]
        clock.advance(HOUR)
    return outcomes


async def reply_to(sample: Sample, server: Serving) -> str:
    """The reply that ends the attempt to send a sample: the last one, or the first refusal."""
    client = await Client.connect(server.host, server.port)
    try:
        return await _reply_to(sample, client)
    finally:
        await client.close()


async def _reply_to(sample: Sample, client: Client) -> str:
    family, local = ("TCP6", "::1") if ":" in sample.client else ("TCP4", "127.0.0.1")
    hello = f"EHLO {sample.hello}\r\n" if sample.early else ""
    client.send(f"PROXY {family} {sample.client} {local} 40000 25\r\n{hello}".encode())
    utf8 = "" if sample.sender.isascii() else " SMTPUTF8"
    commands = [] if sample.early else [f"EHLO {sample.hello}"]
    commands += [*sample.before, f"MAIL FROM:<{sample.sender}>{utf8}"]
    commands += [f"RCPT TO:<{recipient}>" for recipient in sample.recipients]
    reply = await client.reply()
    if sample.early and reply.startswith("2"):
        reply = await client.reply()
    for command in [*commands, "DATA"]:
        if reply[:1] not in ("2", "3") and not reply.startswith("500"):
            return reply
        reply = await client.command(command)
    if not reply.startswith("354"):
        return reply
    return await client.deliver(re.sub(rb"(?m)^\.", b"..", sample.message))
