# SPDX-License-Identifier: MIT
"""`make soak HOURS=1`: mail for hours, while everything around the daemon fails in turn.

In each round the configuration is reloaded, a worker killed, and the name server, the store and the
next hop go and come back.  No message may be lost or doubled, and the worker that is never killed
may not grow.  The figures and a picture of its memory go into build/soak.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.continuity.service import (
    Service,
    client_context,
    doors_of,
    listening_sockets,
    prepare,
)
from tests.continuity.sink import Sink
from tests.continuity.stream import CLIENTS, Account, Session, Stream
from tests.dns_server import DnsServer
from tests.unit.daemon_process import running

#: Octets for each 1000 messages that a worker may grow by, once it is warm.
MOST_GROWTH = 1024.0
#: The part of a run that makes it warm.
WARM_UP = 0.4
#: Messages between two events.
BETWEEN = 24
_FOR_EVER = 1e9

CHAIN = """
who
tls {directory}/cert.pem {directory}/key.pem
dnsbl timeout 0.2s
rate_limit messages_per_client 1000000000/1h
rcpt_ok
queue/smtp-forward 127.0.0.1 {port}
"""


class Sample:
    """Memory of the worker that lives, after so many messages."""

    def __init__(self, messages: int, octets: int) -> None:
        self.messages, self.octets = messages, octets


@dataclass
class Soaked:
    """What came of it."""

    account: Account
    deferred: int
    rounds: int
    problems: list[str]
    samples: list[Sample] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Octets for each 1000 messages, by the line that fits the samples after warming up."""
        return 1000 * slope(self.samples[int(len(self.samples) * WARM_UP) :])

    def __str__(self) -> str:
        least, most = (f(s.octets for s in self.samples) / 2**20 for f in (min, max))
        return (
            f"{self.account}; {self.rounds} rounds, {self.deferred} deferred,"
            f" memory {least:.1f} to {most:.1f} MiB, {self.growth:+.0f} octets for 1000 messages"
        )


def slope(samples: Sequence[Sample]) -> float:
    """Octets per message (least squares); 0 of fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    x = sum(s.messages for s in samples) / len(samples)
    y = sum(s.octets for s in samples) / len(samples)
    spread = sum((s.messages - x) ** 2 for s in samples)
    return sum((s.messages - x) * (s.octets - y) for s in samples) / spread if spread else 0.0


class PatientStream(Stream):
    """Clients that may be told to come again later: their messages have then not arrived."""

    deferred = 0

    def _answered(self, reply: str) -> None:
        if reply.startswith("4"):
            self.deferred += 1
            self._progress.set()
        else:
            super()._answered(reply)

    async def more_answers(self, count: int) -> None:
        """Wait until so many more messages have been accepted or deferred."""
        wanted = len(self.tally.accepted) + self.deferred + count
        while len(self.tally.accepted) + self.deferred < wanted:
            self._progress.clear()
            await self._progress.wait()


@dataclass
class _Round:
    """The events of a round, one after the other."""

    service: Service
    stream: PatientStream
    hop: Sink
    dns: DnsServer
    watched: int  # the worker whose memory is measured, which lives
    killed: set[int] = field(default_factory=set)

    async def run(self) -> None:
        for event in (self._reload, self._kill, self._no_dns, self._no_store, self._no_hop):
            await event()
            await self.stream.more(BETWEEN)

    async def _reload(self) -> None:
        await self.service.reload()

    async def _kill(self) -> None:
        victim = await self._other_worker()
        self.killed.add(victim)
        self.stream.epoch += 1
        os.kill(victim, signal.SIGKILL)

    async def _other_worker(self) -> int:
        """A worker that is not watched; the successor of the last one may not be there yet."""
        while not (others := set(self.service.daemon.children()) - {self.watched}):
            await self.stream.more(1)
        return others.pop()

    async def _no_dns(self) -> None:
        self.dns.silent = True
        await self.stream.more(BETWEEN)
        self.dns.silent = False

    async def _no_store(self) -> None:
        with closing(sqlite3.connect(self.service.directory / "store.sqlite")) as store:
            store.execute("BEGIN EXCLUSIVE")
            await self.stream.more(BETWEEN)
            store.rollback()

    async def _no_hop(self) -> None:
        self.hop.down = True
        await self.stream.more_answers(BETWEEN)
        self.hop.down = False


async def soak(directory: Path, loop: str, goes_on: Callable[[int], bool]) -> Soaked:
    """Soak the daemon; `goes_on` gets the number of rounds that are over."""
    async with Sink() as hop, DnsServer() as dns, _serving(directory, loop, hop, dns) as service:
        samples: list[Sample] = []
        rounds = 0
        async with _streaming(service) as stream:
            watched = service.daemon.children()[0]
            events = _Round(service, stream, hop, dns, watched)
            while goes_on(rounds):
                await events.run()
                rounds += 1
                samples.append(Sample(len(stream.tally.accepted), _memory(watched)))
        account = stream.tally.account(f"soak ({loop})", hop.delivered)

        def excused(session: Session) -> bool:
            return session.worker in events.killed or session.worker is None

        problems = [each for each in account.problems(cut=excused) if "only" not in each]
        problems += [line for line in service.lines if "Traceback" in line or "fault" in line]
        return Soaked(account, stream.deferred, rounds, problems, samples)


@asynccontextmanager
async def _streaming(service: Service) -> AsyncIterator[PatientStream]:
    context = client_context(service.authority)
    stream = PatientStream(service.doors, context, "user@example.test")
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(stream.client(number))
        try:
            await stream.more(CLIENTS)
            yield stream
        finally:
            stream.stop()


@asynccontextmanager
async def _serving(directory: Path, loop: str, hop: Sink, dns: DnsServer) -> AsyncIterator[Service]:
    authority = trustme.CA()
    prepare(directory, authority)
    (directory / "plugins").write_text(CHAIN.format(directory=directory, port=hop.port))
    (directory / "dnsbl_zones").write_text("bl.test\n")
    (directory / "store").write_text(f"{directory}/store.sqlite\n")
    (directory / "store_timeout").write_text("0.1\n")
    sockets = listening_sockets()
    environment = {
        "QPSMTPD_EVENT_LOOP": loop,
        "LISTEN_FDNAMES": "smtp:smtps",
        "QPSMTPD_RESOLVER": f"{dns.address[0]}:{dns.address[1]}",
    }
    async with running(
        directory,
        environment=environment,
        passed=sockets,
        patience=_FOR_EVER,
        listen=[],
        workers=2,
        debug=False,
    ) as daemon:
        service = Service(daemon, directory, doors_of(sockets), authority)
        log = asyncio.create_task(service.read_log())
        await asyncio.wait_for(daemon.ready(), 60)
        for each in sockets:
            each.close()
        try:
            yield service
        finally:
            log.cancel()


def _memory(pid: int) -> int:
    """Octets that no other process shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kinds = ("Private_Clean", "Private_Dirty")
    return sum(int(text.partition(f"\n{kind}:")[2].split()[0]) * 1024 for kind in kinds)


# --- the picture -------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _MARGIN = 640, 240, 48
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #59636e; }
polyline { fill: none; stroke: #1f6feb; stroke-width: 1.5; }
line { stroke: #a5adb8; }
@media (prefers-color-scheme: dark) { text { fill: #9198a1; } polyline { stroke: #4493f8; } }
"""


def draw(samples: Sequence[Sample]) -> str:
    """The memory of a worker over the messages of all, as SVG."""
    most = max(sample.octets for sample in samples) * 1.1
    last = max(sample.messages for sample in samples)
    points = " ".join(
        f"{_MARGIN + sample.messages / last * (_WIDTH - _MARGIN):.1f},"
        f"{_HEIGHT - sample.octets / most * _HEIGHT:.1f}"
        for sample in samples
    )
    bottom = _HEIGHT + 18
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT + 24}">',
            f"<style>\n{_STYLE}</style>",
            f'<line x1="{_MARGIN}" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>',
            f'<text x="0" y="14">{most / 2**20:.0f} MiB</text>',
            f'<text x="{_MARGIN}" y="{bottom}">0</text>',
            f'<text x="{_WIDTH}" y="{bottom}" text-anchor="end">{last} messages</text>',
            f'<polyline points="{points}"/>',
            "</svg>",
            "",
        )
    )


def _until(end: float) -> Callable[[int], bool]:
    return lambda _rounds: time.monotonic() < end


def main() -> int:
    """The exit status: 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.continuity.soak")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--into", type=Path, default=Path("build/soak"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    failed = False
    for loop in ("uvloop", "asyncio"):
        end = time.monotonic() + arguments.hours * 3600 / 2
        with tempfile.TemporaryDirectory(prefix="qpsmtpd-soak-") as name:
            soaked = asyncio.run(soak(Path(name), loop, _until(end)))
        (arguments.into / f"memory-{loop}.svg").write_text(draw(soaked.samples))
        (arguments.into / f"figures-{loop}.txt").write_text(f"{soaked}\n")
        print(soaked, *soaked.problems[:20], sep="\n  ", flush=True)
        failed |= bool(soaked.problems) or soaked.growth > MOST_GROWTH
    return failed


if __name__ == "__main__":
    sys.exit(main())
