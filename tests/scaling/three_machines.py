# SPDX-License-Identifier: MIT
"""Three machines with the daemon behind one HAProxy, as a program: SYSTEM DIRECTORY LOOP SCENARIO.

    the world, with the clients -- HAProxy -+- mx1, mx2, mx3
                                            +- redis1, redis2, redis3, where these keep counters

Each of the latter has a Redis, of which one is the master, and a Sentinel.

SYSTEM is the tree of a Debian with haproxy, redis-server, redis-sentinel and iproute2, DIRECTORY an
empty one.
The program stands in the world: it has to be the first of a PID name space, with a network and
mounts of its own.
"""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.continuity.stream import Door, Session, Stream, in_maildir, streaming
from tests.debian_system import CHECKOUT, System
from tests.isolation import ENVIRONMENT, run
from tests.redis_groups import until
from tests.scaling.haproxy import HaProxy, haproxy
from tests.scaling.networks import Machine
from tests.unit.client import Client
from tests.unit.daemon_process import configure

MESSAGES = 800
STOPS = 4  # of one machine or the other, in turn
PATIENCE = 60.0  # seconds, for a daemon to start or to end

OUTSIDE, OUTSIDE6, INSIDE = "192.0.2.25", "2001:db8::25", "198.51.100.1"
ADDRESSES = {f"mx{number}": f"198.51.100.{10 + number}" for number in (1, 2, 3)}
STORES = {f"redis{number}": f"198.51.100.{20 + number}" for number in (1, 2, 3)}
STORE = f"redis+sentinel://{','.join(STORES.values())}/mail"
RELAYING, LIMITED, OTHER = "192.0.2.76", "192.0.2.77", "192.0.2.78"
CLIENTS = (OTHER, RELAYING, LIMITED, "2001:db8::1")
RATE = 7  # messages of one client


def _servers(port: int) -> str:
    return "".join(f"    server {name} {place}:{port}\n" for name, place in ADDRESSES.items())


SECTIONS = f"""\
listen smtp
    bind {OUTSIDE}:25
    bind [{OUTSIDE6}]:25
    option smtpchk EHLO haproxy.example
    option redispatch 1
    retries 3
    default-server send-proxy-v2 check inter 100ms fall 1 rise 1
{_servers(25)}listen smtps
    bind {OUTSIDE}:465
    option redispatch 1
    retries 3
    default-server send-proxy-v2 check inter 100ms fall 1 rise 1
{_servers(465)}"""
DOORS = (
    Door(OUTSIDE, 25),
    Door(OUTSIDE6, 25, "starttls"),
    Door(OUTSIDE6, 25),
    Door(OUTSIDE, 465, "from the start"),
)


@dataclass
class Daemon:
    """qpsmtpd on one of the machines."""

    machine: Machine
    directory: Path
    loop: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def maildir(self) -> Path:
        return self.directory / "Maildir"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> None:
        address = ADDRESSES[self.name]
        command = ("run", "--config", str(self.directory), "--workers", "2")
        listening = ("--listen", f"{address}:25", "--listen-tls", f"{address}:465")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                (*self.machine.inside, sys.executable, "-m", "qpsmtpd", *command, *listening),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                env={**ENVIRONMENT, "QPSMTPD_EVENT_LOOP": self.loop},
            )

    async def stop(self) -> None:
        """Tell it to end, which it does when its sessions have come to theirs."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.to_thread(self.process.wait) == 0, self.log
        assert not re.search(r"cut \d|Traceback", self.log), self.log


@dataclass
class StoreMachine:
    """A machine with a Redis and a Sentinel."""

    machine: Machine
    system: System
    bridge: Machine
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return STORES[self.machine.name]

    def start(self, master: str) -> None:
        """Start both; master: the address of the one to follow, which may be this one's."""
        directory = f"/run/{self.machine.name}"
        (self.system.root / directory[1:]).mkdir(exist_ok=True)
        follow = () if master == self.address else ("--replicaof", master, "6379")
        self._start(
            *("redis-server", "--bind", self.address, "--dir", directory, "--save", ""),
            *("--protected-mode", "no", "--repl-diskless-sync-delay", "0", *follow),
            ready="Ready to accept connections",
        )
        self.system.write(f"{directory}/sentinel.conf", _sentinel(self.address, master, directory))
        self._start("redis-sentinel", f"{directory}/sentinel.conf", ready="+monitor master")

    def _start(self, *command: str, ready: str) -> None:
        process = subprocess.Popen(
            (*self.machine.inside, "chroot", str(self.system.root), *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )
        self.processes.append(process)
        assert process.stdout is not None
        said = ""
        while ready not in said:
            line = process.stdout.readline().decode()
            assert line, f"{command[0]} does not start:\n{said}"
            said += line

    def kill(self) -> None:
        """Both are gone at once."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def pull_cable(self) -> None:
        """Nothing comes from there any more, not even a refusal."""
        self.bridge.ip(f"link set {self.machine.name} down")

    def plug_in(self) -> None:
        self.bridge.ip(f"link set {self.machine.name} up")

    def says(self, section: str, port: int = 6379) -> str:
        """What INFO says, of the server or (26379) of the Sentinel; an error while it changes."""
        command = ("redis-cli", "-h", self.address, "-p", str(port), "INFO", section)
        return run(
            (*self.machine.inside, "chroot", str(self.system.root), *command), PATIENCE, check=False
        )

    @property
    def is_master(self) -> bool:
        return "role:master" in self.says("replication")

    @property
    def scripts(self) -> int:
        """How many scripts it has run."""
        found = re.search(r"cmdstat_eval:calls=(\d+)", self.says("commandstats"))
        return int(found[1]) if found else 0


def _sentinel(address: str, master: str, directory: str) -> str:
    lines = (
        *(f"bind {address}", "port 26379", "protected-mode no", f"dir {directory}"),
        f"sentinel monitor mail {master} 6379 2",
        *("sentinel down-after-milliseconds mail 1500", "sentinel failover-timeout mail 5000"),
    )
    return "".join(f"{line}\n" for line in lines)


@dataclass
class Site:
    """Everything behind the address that the world knows."""

    daemons: Sequence[Daemon]
    balancer: HaProxy
    stores: Sequence[StoreMachine]
    context: ssl.SSLContext

    async def serve(self, daemon: Daemon) -> None:
        """Start it, and wait until HAProxy has noticed."""
        daemon.start()
        await self.balancer.checked(f"smtp/{daemon.name}", "L7OK")
        await self.balancer.checked(f"smtps/{daemon.name}", "L4OK")

    async def stop(self, daemon: Daemon) -> None:
        """Stop it, and wait until HAProxy has noticed, though that makes no difference."""
        await daemon.stop()
        for section in ("smtp", "smtps"):
            await self.balancer.checked(f"{section}/{daemon.name}", "L4CON")

    def delivered(self) -> list[str]:
        return [id_ for daemon in self.daemons for id_ in in_maildir(daemon.maildir)]


@asynccontextmanager
async def site(system: System, directory: Path, loop: str, rate: int) -> AsyncIterator[Site]:
    """Start everything."""
    authority = trustme.CA()
    machines = connected(system)
    daemons = [
        a_daemon(machines[name], directory / name, loop, authority, rate) for name in ADDRESSES
    ]
    context = ssl.create_default_context()
    context.check_hostname = False
    authority.configure_trust(context)
    with redis(system, machines) as stores:
        async with haproxy(system, SECTIONS, inside=machines["balancer"].inside) as balancer:
            made = Site(daemons, balancer, stores, context)
            for daemon in daemons:
                await made.serve(daemon)
            yield made
            for daemon in daemons:
                await made.stop(daemon)


def connected(system: System) -> dict[str, Machine]:
    """The machines with their cables and addresses."""
    # ip(8) finds name spaces there; the mount ends with our own one.
    run(("mount", "-t", "proc", "proc", str(system.root / "proc")), PATIENCE)
    tools = ("chroot", str(system.root))
    world = Machine("world", tools)
    machines = {name: Machine.new(name, tools) for name in ("balancer", *ADDRESSES, *STORES)}
    balancer = machines["balancer"]
    balancer.cable("world", world, "site")
    world.address("site", *(f"{a}/64" if ":" in a else f"{a}/24" for a in CLIENTS))
    balancer.address("world", f"{OUTSIDE}/24", f"{OUTSIDE6}/64")
    balancer.ip("link add bridge type bridge")
    balancer.ip("link set bridge up")
    balancer.address("bridge", f"{INSIDE}/24")
    for name, address in {**ADDRESSES, **STORES}.items():
        machines[name].cable("eth0", balancer, name)
        balancer.ip(f"link set {name} master bridge")
        machines[name].address("eth0", f"{address}/24")
    return machines


def a_daemon(
    machine: Machine, directory: Path, loop: str, authority: trustme.CA, rate: int
) -> Daemon:
    """Configure it.  rate: the messages of one client in an hour."""
    directory.mkdir()
    issued = authority.issue_cert("mx.example")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    tls = f"tls {directory}/cert.pem {directory}/key.pem"
    limit = f"rate_limit messages_per_client {rate}/1h"
    chain = (tls, "relay", limit, "rcpt_ok", f"queue/maildir {directory}/Maildir")
    files = {"proxy_networks": INSIDE, "relayclients": f"{INSIDE}\n{RELAYING}"}
    configure(directory, {"plugins": chain, "store": STORE, **files})
    return Daemon(machine, directory, loop)


@contextmanager
def redis(system: System, machines: dict[str, Machine]) -> Iterator[Sequence[StoreMachine]]:
    """All servers and Sentinels, which know each other."""
    stores = [StoreMachine(machines[name], system, machines["balancer"]) for name in STORES]
    try:
        for store in stores:
            store.start(stores[0].address)
        for store in stores:
            until(_knows_all, store)
        yield stores
    finally:
        for store in stores:
            store.kill()


def _knows_all(store: StoreMachine) -> bool:
    others = len(STORES) - 1
    return f"slaves={others},sentinels={len(STORES)}" in store.says("sentinel", 26379)


# --- scenarios --------------------------------------------------------------------------------


async def drained(site: Site) -> str:
    """One machine after the other goes and comes again, and the clients do not care."""
    async with streaming(DOORS, context=site.context, messages=MESSAGES) as stream:
        for number in range(STOPS):
            daemon = site.daemons[number % len(site.daemons)]
            await stream.more(MESSAGES // STOPS // 2)
            await site.stop(daemon)
            await stream.more(MESSAGES // STOPS // 2)
            await site.serve(daemon)
    account = stream.tally.account("a machine stopped", site.delivered())
    # What HAProxy has connected but the machine not accepted yet cannot be saved.
    assert account.problems(cut=_nothing_sent) == [], account
    assert all(in_maildir(daemon.maildir) for daemon in site.daemons)
    return str(account)


def _nothing_sent(session: Session) -> bool:
    return session.sent is None


async def limited(site: Site) -> str:
    """All machines together let a client send what it may, and each of them knows the client."""
    for _ in range(2 * len(ADDRESSES)):
        assert await relayed(RELAYING) == 250
        assert await relayed(OTHER) == 550
    replies = Counter([await sent(LIMITED) for _ in range(3 * RATE)])
    assert replies == {250: RATE, 451: 2 * RATE}
    shares = [len(list(daemon.maildir.glob("new/*"))) for daemon in site.daemons]
    assert sum(shares) == RATE and all(shares)
    assert await sent(OTHER) == 250
    # Without their store the machines cannot know, and take mail rather than refuse it.
    for store in site.stores:
        store.kill()
    assert [await sent(LIMITED) for _ in range(4)] == [250] * 4
    return f"{replies[250]} of {3 * RATE} messages: {shares}"


async def failover(site: Site) -> str:
    """The master of the store dies, and then the next one is cut off, while mail flows."""
    async with streaming(DOORS, context=site.context, messages=MESSAGES) as stream:
        for end, mend in (
            (StoreMachine.kill, None),
            (StoreMachine.pull_cable, StoreMachine.plug_in),
        ):
            await stream.more(MESSAGES // 4)
            await _fail_over(site, stream, end, mend)
            await stream.more(MESSAGES // 4)
    account = stream.tally.account("a master of the store gone", site.delivered())
    assert account.problems() == [], account
    for daemon in site.daemons:
        assert daemon.log.count("store up again") >= 2, daemon.log
    return str(account)


def _is_in_its_place(store: StoreMachine, master: StoreMachine) -> bool:
    return store.is_master == (store is master)


async def _fail_over(
    site: Site,
    stream: Stream,
    end: Callable[[StoreMachine], None],
    mend: Callable[[StoreMachine], None] | None,
) -> None:
    """Lose the master, wait until all machines use the next one, and bring the old one back."""
    (old,) = (store for store in site.stores if store.is_master)
    others = [store for store in site.stores if store is not old]
    seen = [daemon.log.count("store up again") for daemon in site.daemons]
    end(old)
    while not any(store.is_master for store in others):
        await stream.more(1)
    for daemon, before in zip(site.daemons, seen, strict=True):
        while daemon.log.count("store up again") <= before:
            await stream.more(1)
    (new,) = (store for store in others if store.is_master)
    ran = new.scripts
    await stream.more(MESSAGES // 8)
    assert new.scripts > ran
    if mend is None:
        old.start(new.address)
    else:
        mend(old)
    for store in site.stores:
        await asyncio.to_thread(until, _is_in_its_place, store, new)
        await asyncio.to_thread(until, _knows_all, store)


async def relayed(client: str) -> int:
    """The reply to a recipient elsewhere."""
    async with session(client) as smtp:
        (code,) = await smtp.commands("RCPT TO:<user@elsewhere.example>")
        return code


async def sent(client: str) -> int:
    """The reply to a message, or what keeps it from being sent."""
    async with session(client) as smtp:
        codes = await smtp.commands("RCPT TO:<user@example.test>", "DATA")
        return codes[-1] if codes[-1] != 354 else int((await smtp.deliver())[:3])


@asynccontextmanager
async def session(client: str) -> AsyncIterator[Client]:
    """A session of this client, up to MAIL."""
    smtp = await Client.connect(OUTSIDE, 25, local_addr=(client, 0))
    await smtp.greeted()
    assert await smtp.commands("EHLO client.example", "MAIL FROM:<a@client.example>") == [250, 250]
    yield smtp
    await smtp.command("QUIT")
    await smtp.close()


SCENARIOS: dict[str, tuple[Callable[[Site], Coroutine[None, None, str]], int]] = {
    "drained": (drained, 10 * MESSAGES),
    "limited": (limited, RATE),
    "failover": (failover, 10 * MESSAGES),
}


async def main(tree: str, directory: str, loop: str, name: str) -> None:
    scenario, rate = SCENARIOS[name]
    async with site(System(Path(tree)), Path(directory), loop, rate) as made:
        outcome = await scenario(made)
    sys.stdout.write(f"{outcome}\npassed\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
