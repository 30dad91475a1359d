# SPDX-License-Identifier: MIT
"""Everything that the daemon asks about a message fails in every way, in the middle of traffic.

The real servers: spamd, clamd, rspamd, a milter (opendkim), Redis, slapd and PostgreSQL, and a name
server.  Whatever they do, one after the other or all at once, a message is taken, or the client is
told to come again: none is refused for good, lost, or doubled.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from qpsmtpd.testing import Records
from tests.continuity.between import FAULTS, Between, Mode, Names
from tests.continuity.sink import Sink
from tests.continuity.soak import PatientStream
from tests.continuity.stream import CLIENTS, Client, Door, Session
from tests.integration.test_recipients import ldap_line, sql_line
from tests.integration.test_store_outage import serving
from tests.login_servers import real_slapd
from tests.redis_server import redis_server
from tests.scanner_servers import real_clamd, real_opendkim, real_rspamd, real_spamd
from tests.table_servers import real_postgresql
from tests.unit.daemon_process import Daemon, configure

pytestmark = pytest.mark.real_systems

Report = Callable[[object], None]

#: Seconds for all of it.
PATIENCE = 1500
#: Answers that clients get while a server fails, and messages that are taken when it is well again.
MEANWHILE, AFTERWARDS = 16, 4
#: Seconds that a client waits that was told to come again.
LATER = 0.1

#: Where the clients come from: nothing is asked about those on this machine.
CLIENT = "192.0.2.77"
DNS: Records = {
    ("A", "client.example"): [CLIENT],
    ("MX", "client.example"): [(10, "mx.client.example")],
    ("A", "mx.client.example"): [CLIENT],
    ("TXT", "client.example"): [f"v=spf1 ip4:{CLIENT} -all"],
}
#: Those without which mail is taken: the store has no opinion then.
DISPENSABLE = {"Redis"}

SCANNERS = """
virus/clamdscan clamd_socket 127.0.0.1:{clamd} timeout=3
spamassassin spamd_socket 127.0.0.1:{spamd} reject 100 timeout=10
rspamd 127.0.0.1:{rspamd} timeout=3
milter dkim 127.0.0.1:{milter} connect_timeout=1 timeout=2 content_timeout=3
"""
TABLES = """
dnsbl
resolvable_fromhost timeout 1
sender_permitted_from reject 4
rate_limit messages_per_client 1000000000/1h
rcpt_ldap {ldap} timeout 3 domains example.test
rcpt_sql {sql} timeout 3 domains sql.test {query}
"""
END = """
rcpt_ok
queue/smtp-forward 127.0.0.1 {hop}
"""

#: Of these recipients slapd knows the first, and PostgreSQL the second.
RECIPIENTS = ("user@example.test", "user@sql.test")
QUERY = "query SELECT active FROM users WHERE address = %u || '@example.test'"


class StrangersStream(PatientStream):
    """Clients from elsewhere, as a proxy says; they wait before they come again."""

    def __init__(self, door: Door) -> None:
        super().__init__([door], None, "")
        self._recipients = itertools.cycle(RECIPIENTS)

    async def session(self, messages: int = 1) -> None:
        deferred = self.deferred
        await super().session(messages)
        if self.deferred != deferred:
            await asyncio.sleep(LATER)

    async def _message(self, client: Client, session: Session) -> None:
        self._to = next(self._recipients)
        await super()._message(client, session)

    async def _greeted(self, client: Client, door: Door, session: Session, began: float) -> None:
        client.send(f"PROXY TCP4 {CLIENT} 127.0.0.1 40000 25\r\n".encode())
        await super()._greeted(client, door, session, began)


@dataclass
class World:
    """What the daemon asks, by name, with the configuration that has it asked."""

    asked: Mapping[str, Between | Names]
    files: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def in_front_of(places: Mapping[str, str | int]) -> AsyncIterator[dict[str, Between]]:
    """Somebody in front of each of these servers, by name."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(Between(place)) for name, place in places.items()
        }


@asynccontextmanager
async def scanners(_directory: Path) -> AsyncIterator[World]:
    """The real ones."""
    with ExitStack() as stack:
        real = {
            "clamd": real_clamd(),
            "spamd": real_spamd(),
            "rspamd": real_rspamd(),
            "milter": real_opendkim(),
        }
        places = {name: stack.enter_context(each).place for name, each in real.items()}
        async with in_front_of(places) as asked:
            ports = {name: each.port for name, each in asked.items()}
            yield World(asked, {"plugins": SCANNERS.format(**ports)})


@asynccontextmanager
async def tables(directory: Path) -> AsyncIterator[World]:
    """The real store, the real tables of recipients, and a name server."""
    with redis_server() as redis, real_slapd() as slapd, real_postgresql("bookworm") as sql:
        places: dict[str, str | int] = {
            "Redis": str(redis.socket),
            "slapd": slapd.port,
            "PostgreSQL": sql.port,
        }
        async with in_front_of(places) as asked, Names(DNS) as names:
            plugins = TABLES.format(
                ldap=ldap_line(replace(slapd, port=asked["slapd"].port)),
                sql=sql_line(replace(sql, port=asked["PostgreSQL"].port), directory),
                query=QUERY,
            )
            files = {
                "plugins": plugins,
                "store": f"redis://127.0.0.1:{asked['Redis'].port}",
                "store_timeout": "0.5",
                "dnsbl_zones": "bl.test",
            }
            host, port = names.address
            yield World({**asked, "DNS": names}, files, {"QPSMTPD_RESOLVER": f"{host}:{port}"})


def write(directory: Path, world: World, hop: Sink) -> None:
    """Write the configuration."""
    files = {
        **world.files,
        "plugins": world.files["plugins"] + END.format(hop=hop.port),
        "rcpthosts": "example.test\nsql.test",
        "proxy_networks": "127.0.0.1",
        "max_from_ip": "0",
        "max_from_network": "0",
    }
    configure(directory, files)


@asynccontextmanager
async def everything(directory: Path) -> AsyncIterator[World]:
    """All of them; recipients come first, as in every chain."""
    async with tables(directory) as one, scanners(directory) as other:
        files = {**one.files, "plugins": one.files["plugins"] + other.files["plugins"]}
        yield World({**one.asked, **other.asked}, files, one.environment)


@dataclass
class Outage:
    """What clients were told while one server failed in one way, or all failed and the first so."""

    name: str
    mode: Mode
    taken: int
    deferred: int


#: What happens while mail flows.
Happen = Callable[[StrangersStream, World], Awaitable[list[Outage]]]


async def answers(stream: StrangersStream, name: str, mode: Mode) -> Outage:
    """What clients are told now."""
    taken, deferred = len(stream.tally.accepted), stream.deferred
    # What was asked before may still be answered.
    await stream.more_answers(CLIENTS + MEANWHILE)
    return Outage(name, mode, len(stream.tally.accepted) - taken, stream.deferred - deferred)


async def outage(stream: StrangersStream, asked: Between | Names, name: str, mode: Mode) -> Outage:
    """Let it fail, and be well again."""
    await asked.become(mode)
    await asked.met()
    found = await answers(stream, name, mode)
    await asked.become("well")
    await asked.met()
    await stream.more(AFTERWARDS)
    return found


async def one_after_the_other(stream: StrangersStream, world: World) -> list[Outage]:
    """Each of them in every way."""
    return [
        await outage(stream, asked, name, mode)
        for name, asked in world.asked.items()
        for mode in FAULTS
    ]


async def all_at_once(stream: StrangersStream, world: World) -> list[Outage]:
    """All faults at the same time, so often that each of them has had every fault."""
    found = []
    for first, mode in enumerate(FAULTS):
        for number, asked in enumerate(world.asked.values(), start=first):
            await asked.become(FAULTS[number % len(FAULTS)])
        found.append(await answers(stream, "all, the first one", mode))
        for asked in world.asked.values():
            await asked.become("well")
        await stream.more(AFTERWARDS)
    return found


async def while_mail_flows(stream: StrangersStream, world: World, happen: Happen) -> list[Outage]:
    """What clients were told."""
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(stream.client(number))
        try:
            await stream.more(CLIENTS)
            return await happen(stream, world)
        finally:
            stream.stop()


async def read_log(daemon: Daemon) -> None:
    """A pipe that nobody reads would stop the daemon."""
    assert daemon.process.stderr is not None
    while line := await daemon.process.stderr.readline():
        daemon.lines.append(line.decode())


@pytest.mark.parametrize(
    ("around", "happen"),
    [(scanners, one_after_the_other), (tables, one_after_the_other), (everything, all_at_once)],
    ids=["scanners", "tables", "all-at-once"],
)
async def test_nothing_is_lost_whatever_fails(
    around: Callable[[Path], AbstractAsyncContextManager[World]],
    happen: Happen,
    loop: str,
    tmp_path: Path,
    report: Report,
) -> None:
    async with around(tmp_path) as world, Sink() as hop:
        write(tmp_path, world, hop)
        async with serving(
            tmp_path, loop, environment=world.environment, workers=2, patience=PATIENCE
        ) as (daemon, port):
            reading = asyncio.create_task(read_log(daemon))
            stream = StrangersStream(Door("127.0.0.1", port))
            found = await while_mail_flows(stream, world, happen)
            reading.cancel()
        account = stream.tally.account(f"{len(found)} outages on {loop}", hop.delivered)
    report(f"{account}; {stream.deferred} deferred")
    for name in dict.fromkeys(o.name for o in found):
        each = [f"{o.mode} {o.taken}/{o.deferred}" for o in found if o.name == name]
        report(f"  {name}: taken/deferred while {', '.join(each)}")
    assert [problem for problem in account.problems() if "only" not in problem] == []
    without_effect = [o for o in found if not o.deferred and o.name not in DISPENSABLE]
    assert without_effect == []
    assert not [line for line in daemon.lines if "Traceback" in line or "fault" in line]
