# SPDX-License-Identifier: MIT
"""What a slow DNS costs the clients of the chain strict: the look-ups that depend on each other.

    python -m tests.bench.slowdns [--clients 500] [--runs 3]

The name server takes 100 ms for each answer.  A client that is alone shows the longest chain of
look-ups of which each was begun when the one before had been answered: because it depends on it, or
because the chain of plugins asks one plugin after the other.  Then 500 clients come at once, to a
server that has not been asked for anything, each from its own address, with its own domain as
sender, and a signed message.  Printed is how much longer than that chain they had to wait, and what
held the event loop for longest, where that can be seen (on asyncio's own).  The exit status is 1
when it was more than the bounds below.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import uvloop

from tests.bench.addresses import NAMED
from tests.bench.cases import SIZE
from tests.bench.client import RefusedError
from tests.bench.cost import Cost
from tests.bench.crowd import Crowd, Errand, send_crowd
from tests.bench.laboratory import Command, Laboratory, ServerError, run_inside
from tests.bench.nameserver import NameServer, name_server
from tests.bench.results import percentile
from tests.bench.servers import SERVERS, Server, Setup, serving
from tests.bench.signed import DOMAIN
from tests.bench.trees import TREES
from tests.debian_system import unavailable

DELAY = 0.1  # seconds, of each answer
MOST_MORE = 0.150  # seconds, for each client, beyond the look-ups
MOST_HELD = 0.050  # seconds, for anything that the loop calls
CLIENTS, RUNS = 500, 3
FIRST_PORT = 2500

SLOW_SERVER = ("127.0.0.2", 53)
HELD_LOOP = Path(__file__).with_name("heldloop.py")
PATIENCE = 30.0  # seconds until the server has told what held it

SETUP = Setup.CHAIN_STRICT
#: Each client has a domain of its own; that in the From field has signed.
ERRAND = Errand(SIZE, network=NAMED, sender=f"news@d#.{DOMAIN}", signatures=1)
#: The servers that are measured.  500 messages cost one worker as long as their look-ups take; so
#: the bound is for two.
MEASURED = ("ours-1", "ours-2", "ours-1-asyncio")
BOUNDED = "ours-2"
#: It has a loop that tells what has held it.
TELLS = "ours-1-asyncio"

#: When each question came, and what it was for.
Asked = Sequence[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Slowed(Server):
    """A server of ours that asks the slow name server; it may tell what held its loop."""

    server: Server
    told: Path | None

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        command = self.server.prepare(laboratory, home, setup, port)
        address, dns_port = SLOW_SERVER
        environment = {**command.environment, "QPSMTPD_RESOLVER": f"{address}:{dns_port}"}
        words = command.words
        if self.told:
            arguments = words[words.index("qpsmtpd") + 1 :]
            words = (words[0], str(HELD_LOOP), str(self.told), *arguments)
        return replace(command, words=words, environment=environment)


@dataclass(frozen=True)
class Figures:
    """What one server did.

    chain: the look-ups of a client that is alone of which each needs the one before.
    more: seconds that each client waited beyond them.  held: how long what held the loop, if known.
    bounded: whether `more` has to keep within the bound.
    """

    chain: Sequence[str]
    alone: float
    more: Sequence[float]
    held: tuple[float, str] | None
    bounded: bool

    @property
    def problems(self) -> list[str]:
        """Where the bounds are exceeded."""
        found = []
        if self.bounded and max(self.more) > MOST_MORE:
            found.append(f"a client waited {max(self.more) * 1000:.0f} ms more")
        if self.held and self.held[0] > MOST_HELD:
            found.append(f"the loop was held for {self.held[0] * 1000:.0f} ms by {self.held[1]}")
        return found

    def __str__(self) -> str:
        p50, p99 = (percentile(self.more, percent) * 1000 for percent in (50, 99))
        held = f"{self.held[0] * 1000:.0f} ms ({self.held[1]})" if self.held else "-"
        return (
            f"{len(self.chain)} look-ups in a chain, {len(self.chain) * DELAY * 1000:.0f} ms; "
            f"alone {self.alone * 1000:.0f} ms; {len(self.more)} at once, more than the chain: "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {max(self.more) * 1000:.0f} ms; "
            f"loop held {held}"
        )


def longest_chain(asked: Asked, delay: float = DELAY) -> list[str]:
    """The most questions of which each came when the one before had been answered."""
    best: list[list[str]] = []
    times = sorted(asked)
    for at, what in times:
        before = [
            best[n] for n, (earlier, _) in enumerate(times[: len(best)]) if earlier + delay <= at
        ]
        best.append([*max(before, key=len, default=[]), what])
    return max(best, key=len, default=[])


def main() -> int:
    """The exit status of the process."""
    arguments = make_parser().parse_args()
    if arguments.inside:
        return uvloop.run(_inside(arguments))
    if reason := unavailable():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    return run_inside("tests.bench.slowdns", {"postfix": TREES["postfix"]}, sys.argv[1:])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.slowdns")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many come at once")
    parser.add_argument("--runs", type=int, default=RUNS, help="of how many the best is told")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


# --- inside ---------------------------------------------------------------------------------


async def _inside(arguments: argparse.Namespace) -> int:
    laboratory = Laboratory.from_json(arguments.inside)
    problems = []
    ports = count(FIRST_PORT)
    try:
        async with laboratory.open(), name_server(SLOW_SERVER, DELAY) as dns:
            for name in MEASURED:
                runs = [
                    await _measure(laboratory, dns, name, arguments.clients, ports)
                    for _ in range(arguments.runs)
                ]
                figures = best_of(runs)
                print(f"{SERVERS[name].title}: {figures}", flush=True)
                problems += [f"{SERVERS[name].title}: {each}" for each in figures.problems]
    except (ServerError, RefusedError) as error:
        problems.append(str(error))
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    return bool(problems)


def best_of(runs: Sequence[Figures]) -> Figures:
    """The least of the longest waits, and of what held the loop: other work here only adds."""
    best = min(runs, key=lambda run: max(run.more))
    held = [run.held for run in runs if run.held]
    return replace(best, held=min(held, default=None))


async def _measure(
    laboratory: Laboratory,
    dns: NameServer,
    name: str,
    clients: int,
    ports: Iterator[int],
) -> Figures:
    """Each with a server that knows nothing yet.  Raises ServerError and RefusedError."""
    held_by = Path(tempfile.mkdtemp(prefix="held-", dir=laboratory.work)) / "held"
    told = held_by if name == TELLS else None
    server = Slowed(name=name, title=name, server=SERVERS[name], told=told)
    port = next(ports)
    async with serving(laboratory, server, SETUP, port):
        dns.asked.clear()
        alone = await _visited(port, 1, 0)
        chain = longest_chain(dns.asked)
    port = next(ports)
    async with serving(laboratory, server, SETUP, port) as cost:
        await _held(cost, told)  # while it started
        crowd = await _visited(port, clients, 1)
        held = await _held(cost, told)
    more = [seconds - len(chain) * DELAY for seconds in crowd.finished]
    return Figures(chain, alone.finished[0], more, held, name == BOUNDED)


async def _visited(port: int, clients: int, first: int) -> Crowd:
    crowd = await send_crowd(port, clients, clients, first, ERRAND)
    if crowd.refusals:
        raise RefusedError(crowd.refusals[0])
    return crowd


async def _held(cost: Cost, told: Path | None) -> tuple[float, str] | None:
    """What has held the loop for longest since this was asked last."""
    if told is None:
        return None
    told.unlink(missing_ok=True)
    (pid,) = cost.processes()
    os.kill(pid, signal.SIGUSR2)
    try:
        async with asyncio.timeout(PATIENCE):
            while not told.exists():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise ServerError("does not tell what held its loop") from None
    seconds, what = json.loads(told.read_text())
    return seconds, what


if __name__ == "__main__":
    sys.exit(main())
