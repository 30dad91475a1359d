# SPDX-License-Identifier: MIT
"""The cases: what is done to a server that was started for it, and what is told of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from tests.bench.addresses import NAMED, STRANGERS
from tests.bench.client import EHLO, Client, RefusedError, a_message, visit
from tests.bench.cost import Cost
from tests.bench.crowd import Crowd, Errand, send_crowd
from tests.bench.load import Load, probe, send_load
from tests.bench.results import Cell, median_of, percentile
from tests.bench.servers import Server, Setup
from tests.bench.signed import AUTHOR

KB, MB = 1024, 1024 * 1024
SIZE = 4 * KB  # of a message, unless said otherwise
EARLY_TALKER_WAIT = 1.0  # seconds; the default chain's
SETTLING_VISITS = 30  # before idle connections are counted


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure.

    seconds: how long a run lasts; slower servers get fewer messages.
    """

    seconds: float
    runs: int


@dataclass(frozen=True)
class Subject:
    """A running server, and the tree with the load generator."""

    server: Server
    port: int
    cost: Cost
    postfix: Path


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """A case; its name is for the command line and the results, the title for people.

    beside: another case; how much more CPU time a message costs here is told.
    """

    name: str
    title: str
    setup: Setup = Setup.DISCARD
    beside: str = ""

    def suits(self, server: Server) -> bool:
        """Whether this server is measured in this case."""
        return self.setup in server.setups

    @property
    def size(self) -> int:
        """Bytes of a message."""
        return SIZE

    @abstractmethod
    async def measure(self, subject: Subject, effort: Effort) -> Cell:
        """Do it.  Raises RefusedError and ServerError, also in an ExceptionGroup."""


@dataclass(frozen=True, kw_only=True)
class Flow(Case):
    """Messages or clients that come one after the other, in any number."""

    @property
    @abstractmethod
    def at_a_time(self) -> int:
        """How many connections are open at a time."""

    @abstractmethod
    async def send(self, subject: Subject, number: int, first: int) -> None:
        """Send so many; `first` is how many came before.  Raises as `measure` does."""


@dataclass(frozen=True, kw_only=True)
class Stream(Flow):
    """Messages one after the other, from several clients, by smtp-source."""

    load: Load
    first: int = 50  # messages of the runs that show how fast the server is

    @property
    def size(self) -> int:
        return self.load.size

    @property
    def at_a_time(self) -> int:
        return self.load.sessions

    async def send(self, subject: Subject, number: int, first: int) -> None:
        await send_load(subject.postfix, subject.port, self.load, number)

    async def measure(self, subject: Subject, effort: Effort) -> Cell:
        await self._run(subject, self.first)  # what happens once, happens here
        trial = await self._run(subject, self.first)
        trial = await self._run(subject, self._messages(trial, effort.seconds / 4))
        messages = self._messages(trial, effort.seconds)
        runs = [await self._run(subject, messages) for _ in range(effort.runs)]
        # Further clients cost the server something, so they come when that is not counted.
        seen = await probe(subject.postfix, subject.port, self.load, messages)
        return _with_percentiles(median_of(runs), seen)

    def _messages(self, trial: Cell, seconds: float) -> int:
        """How many messages take so long, as far as a trial tells."""
        assert trial.rate is not None
        return max(self.load.sessions, int(trial.rate * seconds))

    async def _run(self, subject: Subject, messages: int) -> Cell:
        cost = subject.cost
        async with cost.watched():
            before = cost.cpu_seconds()
            seconds = await send_load(subject.postfix, subject.port, self.load, messages)
            spent = cost.cpu_seconds() - before
        return Cell(
            messages=messages,
            rate=messages / seconds,
            per_cpu_second=messages / spent,
            memory=cost.peak_memory,
        )


#: Clients whose address has a name: others are suspects to the default chain, which puts them off.
_NAMED = Errand(SIZE, network=NAMED)


@dataclass(frozen=True, kw_only=True)
class AtOnce(Case):
    """Clients that all come at once, and are made to wait for the greeting.

    That wait does not count where messages per second are told.
    """

    clients: int
    setup: Setup = Setup.DEFAULT_CHAIN

    def suits(self, server: Server) -> bool:
        return super().suits(server) and self.clients <= server.most_at_once

    async def measure(self, subject: Subject, effort: Effort) -> Cell:
        strangers = count(step=self.clients)
        return median_of([await self._run(subject, next(strangers)) for _ in range(effort.runs)])

    async def _run(self, subject: Subject, first: int) -> Cell:
        cell, crowd = await _crowd(subject, self.clients, self.clients, first, _NAMED)
        return replace(
            cell,
            rate=len(crowd.finished) / (crowd.seconds - EARLY_TALKER_WAIT),
            greeted=(max(crowd.greeted) - EARLY_TALKER_WAIT) * 1000,
        )


@dataclass(frozen=True, kw_only=True)
class Strangers(Flow):
    """Clients of different addresses, as no answer about them must be known already."""

    errand: Errand
    at_once: int = 10

    @property
    def size(self) -> int:
        return self.errand.size

    @property
    def at_a_time(self) -> int:
        return self.at_once

    def suits(self, server: Server) -> bool:
        return super().suits(server) and server.checks

    async def send(self, subject: Subject, number: int, first: int) -> None:
        crowd = await send_crowd(subject.port, number, self.at_once, first, self.errand)
        if crowd.refusals:
            raise RefusedError(crowd.refusals[0])

    async def measure(self, subject: Subject, effort: Effort) -> Cell:
        trial = await self._run(subject, self.at_once, 0)
        assert trial.rate is not None
        most = (STRANGERS - self.at_once) // effort.runs
        clients = min(max(self.at_once, int(trial.rate * effort.seconds)), most)
        runs = [
            await self._run(subject, clients, self.at_once + number * clients)
            for number in range(effort.runs)
        ]
        return median_of(runs)

    async def _run(self, subject: Subject, clients: int, first: int) -> Cell:
        cell, _ = await _crowd(subject, clients, self.at_once, first, self.errand)
        return cell


@dataclass(frozen=True, kw_only=True)
class Idle(Case):
    """Connections that have said EHLO, and say no more."""

    async def measure(self, subject: Subject, effort: Effort) -> Cell:
        message = a_message(SIZE)
        for _ in range(SETTLING_VISITS):
            await visit(subject.port, message)
        before = subject.cost.memory()
        async with AsyncExitStack() as stack:
            for _ in range(subject.server.most_idle):
                client = await stack.enter_async_context(Client.connected(subject.port))
                await client.ask(EHLO, b"250")
            after = subject.cost.memory()
        return Cell(memory=after, idle=(after - before) / subject.server.most_idle)


async def _crowd(
    subject: Subject, clients: int, at_once: int, first: int, errand: Errand
) -> tuple[Cell, Crowd]:
    """What a crowd saw, and what it cost; `first` is the number of its first client.

    Raises RefusedError when nobody's visit went as it should.
    """
    cost = subject.cost
    async with cost.watched():
        before = cost.cpu_seconds()
        crowd = await send_crowd(subject.port, clients, at_once, first, errand)
        spent = cost.cpu_seconds() - before
    served = len(crowd.finished)
    if not served:
        raise RefusedError(f"all {clients} clients refused, the first with: {crowd.refusals[0]}")
    cell = Cell(
        messages=served,
        rate=served / crowd.seconds,
        per_cpu_second=served / spent,
        memory=cost.peak_memory,
        refused=len(crowd.refusals),
    )
    return _with_percentiles(cell, crowd.finished), crowd


def _with_percentiles(cell: Cell, seconds: Sequence[float]) -> Cell:
    p50, p95, p99 = (percentile(seconds, percent) * 1000 for percent in (50, 95, 99))
    return replace(cell, p50=p50, p95=p95, p99=p99)


#: Clients that have come before, so that the DNS is known, with a signed message.
_SIGNED = Errand(SIZE, network=NAMED, addresses=10, sender=AUTHOR, signatures=1)

#: By name, in the order of the tables.
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Stream(
            name="one-per-connection",
            title="One 4 KB message per connection",
            load=Load(SIZE, sessions=10),
        ),
        Stream(
            name="many-per-connection",
            title="Many 4 KB messages per connection",
            load=Load(SIZE, sessions=10, keep=True),
        ),
        Stream(
            name="100kb",
            title="100 KB messages, many per connection",
            load=Load(100 * KB, sessions=10, keep=True),
        ),
        Stream(
            name="5mb",
            title="5 MB messages, many per connection",
            load=Load(5 * MB, sessions=4, keep=True),
            first=4,
        ),
        AtOnce(name="200-at-once", title="Default chain, 200 clients at once", clients=200),
        AtOnce(name="2000-at-once", title="Default chain, 2000 clients at once", clients=2000),
        AtOnce(name="8000-at-once", title="Default chain, 8000 clients at once", clients=8000),
        Idle(name="idle", title="Idle connections"),
        Strangers(
            name="strangers",
            title="Strangers whose address has a name, one 4 KB message each",
            errand=_NAMED,
        ),
        Strangers(
            name="strangers-refused",
            title="Strangers refused at RCPT",
            errand=Errand(SIZE, recipient="user@elsewhere.test", refused=True),
        ),
        Strangers(
            name="listed",
            title="Strangers refused because a DNS list has them",
            setup=Setup.LISTED,
            errand=Errand(SIZE, refused=True),
        ),
        Strangers(
            name="chain",
            title="Default chain and two DNS lists, strangers whose address has a name",
            setup=Setup.CHAIN,
            errand=_NAMED,
        ),
        *(
            Strangers(
                name=str(setup),
                title=f"The chain {setup.partition('-')[2]}, strangers with a signed 4 KB message",
                setup=setup,
                errand=replace(_SIGNED, addresses=STRANGERS),
                beside="" if setup is Setup.CHAIN_MINIMAL else Setup.CHAIN_MINIMAL,
            )
            for setup in (Setup.CHAIN_MINIMAL, Setup.CHAIN_STANDARD, Setup.CHAIN_STRICT)
        ),
        Strangers(
            name="dnsbl",
            title="Two DNS block lists that answer after 20 ms",
            setup=Setup.BLOCK_LISTS,
            errand=Errand(SIZE),
            at_once=100,
        ),
        Stream(
            name="smtp-forward",
            title="Hand-over by SMTP to smtp-sink, one 4 KB message per connection",
            setup=Setup.FORWARD,
            load=Load(SIZE, sessions=10),
        ),
        Stream(
            name="postfix-queue",
            title="Hand-over to the queue of Postfix, one 4 KB message per connection",
            setup=Setup.POSTFIX_QUEUE,
            load=Load(SIZE, sessions=10),
        ),
        Strangers(
            name="authentication-off",
            title="A signed 4 KB message per connection, whose signature nobody looks at",
            setup=Setup.UNAUTHENTICATED,
            errand=_SIGNED,
        ),
        Strangers(
            name="authentication",
            title="SPF, DKIM and DMARC of such a message",
            setup=Setup.AUTHENTICATION,
            errand=_SIGNED,
            beside="authentication-off",
        ),
        Strangers(
            name="authentication-5",
            title="The same with five signatures; more than with one",
            setup=Setup.AUTHENTICATION,
            errand=replace(_SIGNED, signatures=5),
            beside="authentication",
        ),
        Strangers(
            name="authentication-1mb-off",
            title="A signed 1 MB message per connection, whose signature nobody looks at",
            setup=Setup.UNAUTHENTICATED,
            errand=replace(_SIGNED, size=MB),
        ),
        Strangers(
            name="authentication-1mb",
            title="SPF, DKIM and DMARC of such a message",
            setup=Setup.AUTHENTICATION,
            errand=replace(_SIGNED, size=MB),
            beside="authentication-1mb-off",
        ),
    )
}
