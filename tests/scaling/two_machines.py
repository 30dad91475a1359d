# SPDX-License-Identifier: MIT
"""Two machines with the daemon behind one HAProxy, as a program: SYSTEM DIRECTORY LOOP SCENARIO.

    the world, with the clients -- HAProxy -+- mx1
                                            +- mx2
                                            +- redis, where both keep their counters

SYSTEM is the tree of a Debian with haproxy, redis-server and iproute2, DIRECTORY an empty one.
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
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.continuity.stream import Door, Session, in_maildir, streaming
from tests.debian_system import CHECKOUT, System
from tests.isolation import ENVIRONMENT, run
from tests.scaling.haproxy import HaProxy, haproxy
from tests.scaling.networks import Machine
from tests.unit.client import Client
from tests.unit.daemon_process import configure

MESSAGES = 800
STOPS = 4  # of one machine or the other, in turn
PATIENCE = 60.0  # seconds, for a daemon to start or to end

OUTSIDE, OUTSIDE6, INSIDE = "192.0.2.25", "2001:db8::25", "198.51.100.1"
REDIS = "198.51.100.20"
ADDRESSES = {"mx1": "198.51.100.11", "mx2": "198.51.100.12"}
RELAYING, LIMITED, OTHER = "192.0.2.76", "192.0.2.77", "192.0.2.78"
CLIENTS = (OTHER, RELAYING, LIMITED, "2001:db8::1")
RATE = 7  # messages of one client

SECTIONS = f"""\
listen smtp
    bind {OUTSIDE}:25
    bind [{OUTSIDE6}]:25
    option smtpchk EHLO haproxy.example
    option redispatch 1
    retries 3
    default-server send-proxy-v2 check inter 100ms fall 1 rise 1
    server mx1 {ADDRESSES["mx1"]}:25
    server mx2 {ADDRESSES["mx2"]}:25
listen smtps
    bind {OUTSIDE}:465
    option redispatch 1
    retries 3
    default-server send-proxy-v2 check inter 100ms fall 1 rise 1
    server mx1 {ADDRESSES["mx1"]}:465
    server mx2 {ADDRESSES["mx2"]}:465
"""
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
class Site:
    """Everything behind the address that the world knows."""

    daemons: Sequence[Daemon]
    balancer: HaProxy
    redis: subprocess.Popen[bytes]
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
    with redis(system, machines["redis"]) as store:
        async with haproxy(system, SECTIONS, inside=machines["balancer"].inside) as balancer:
            made = Site(daemons, balancer, store, context)
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
    machines = {name: Machine.new(name, tools) for name in ("balancer", *ADDRESSES, "redis")}
    balancer = machines["balancer"]
    balancer.cable("world", world, "site")
    world.address("site", *(f"{a}/64" if ":" in a else f"{a}/24" for a in CLIENTS))
    balancer.address("world", f"{OUTSIDE}/24", f"{OUTSIDE6}/64")
    balancer.ip("link add bridge type bridge")
    balancer.ip("link set bridge up")
    balancer.address("bridge", f"{INSIDE}/24")
    for name, address in {**ADDRESSES, "redis": REDIS}.items():
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
    configure(directory, {"plugins": chain, "store": f"redis://{REDIS}", **files})
    return Daemon(machine, directory, loop)


@contextmanager
def redis(system: System, machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    command = (*machine.inside, "chroot", str(system.root), "redis-server", "--bind", REDIS)
    process = subprocess.Popen(
        (*command, "--protected-mode", "no", "--save", ""),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    said = ""
    while "Ready to accept connections" not in said:
        line = process.stdout.readline().decode()
        assert line, f"redis-server does not start:\n{said}"
        said += line
    try:
        yield process
    finally:
        process.kill()
        process.wait()


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
    """Both machines together let a client send what it may, and each of them knows the client."""
    for _ in range(4):
        assert await relayed(RELAYING) == 250
        assert await relayed(OTHER) == 550
    replies = Counter([await sent(LIMITED) for _ in range(3 * RATE)])
    assert replies == {250: RATE, 451: 2 * RATE}
    shares = [len(list(daemon.maildir.glob("new/*"))) for daemon in site.daemons]
    assert sum(shares) == RATE and all(shares)
    assert await sent(OTHER) == 250
    # Without their store the machines cannot know, and take mail rather than refuse it.
    site.redis.kill()
    site.redis.wait()
    assert [await sent(LIMITED) for _ in range(4)] == [250] * 4
    return f"{replies[250]} of {3 * RATE} messages: {shares}"


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
}


async def main(tree: str, directory: str, loop: str, name: str) -> None:
    scenario, rate = SCENARIOS[name]
    async with site(System(Path(tree)), Path(directory), loop, rate) as made:
        outcome = await scenario(made)
    sys.stdout.write(f"{outcome}\npassed\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
