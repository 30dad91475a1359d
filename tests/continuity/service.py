# SPDX-License-Identifier: MIT
"""The daemon in processes of its own, delivering into a Maildir, for clients of all kinds."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trustme

from tests.continuity.stream import MESSAGES, Client, Door, Stream, in_maildir, streaming
from tests.unit.daemon_process import Daemon, configure, running

#: Seconds for one event with all that is measured around it.
PATIENCE = 150.0

#: An event loop, and a number of workers.
Way = tuple[str, int]

#: Tells which worker it is; its EHLO keyword is the process id.
WHO = """
import os
from qpsmtpd.api import *

class Who(Plugin[NoOptions]):
    async def hook_ehlo(self, session, host):
        session.capabilities.append(f"XPID {os.getpid()}")
"""


@dataclass
class Service:
    """A running daemon with all its doors."""

    daemon: Daemon
    directory: Path
    doors: tuple[Door, ...]
    authority: trustme.CA
    lines: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def streaming(self, messages: int = MESSAGES) -> AbstractAsyncContextManager[Stream]:
        context = client_context(self.authority)
        return streaming(self.doors, context=context, messages=messages)

    async def reload(self) -> None:
        """Reload, and wait until the daemon says that it is over."""
        self.daemon.signal(signal.SIGHUP)
        while "RELOADING=1" not in await self.daemon.notified():
            pass
        await self.daemon.ready()

    async def stop(self) -> None:
        """Let the daemon end, and read its log to the end."""
        self.daemon.signal(signal.SIGTERM)
        await self.stopped.wait()

    def configure(self, name: str, text: str) -> None:
        (self.directory / name).write_text(f"{text}\n")

    def new_certificate(self) -> bytes:
        """Put a new key and certificate where the plugin tls reads them; the certificate (DER)."""
        return issue(self.authority, self.directory)

    def delivered(self, *, killed: bool = False) -> list[str]:
        """The ids that are in the Maildir.  killed: some process was, and left its work in tmp."""
        return in_maildir(self.directory / "Maildir", killed=killed)

    async def held(self, *, in_worker: int | None = None) -> Client:
        """A client behind EHLO, in this worker if that matters."""
        while True:
            client = await Client.connect(self.doors[0], None)
            await client.reply(220)
            said = await client.command("EHLO client.example", 250)
            if in_worker is None or f"XPID {in_worker}" in said:
                return client
            client.close()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    async def read_log(self) -> None:
        """A pipe that nobody reads would stop the daemon."""
        assert self.daemon.process.stderr is not None
        while line := await self.daemon.process.stderr.readline():
            self.lines.append(line.decode())
        self.stopped.set()


def name(event: str, way: Way) -> str:
    """What the account of this event is called."""
    loop, workers = way
    return f"{event} ({loop}, {workers} worker{'s' if workers > 1 else ''})"


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """What clients want of the certificate: a name is not among it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    authority.configure_trust(context)
    return context


def issue(authority: trustme.CA, directory: Path) -> bytes:
    issued = authority.issue_cert("mx.example")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def listening_sockets() -> list[socket.socket]:
    """For SMTP, and for SMTP with TLS from the start, as systemd passes them."""
    return [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]


def doors_of(sockets: Sequence[socket.socket]) -> tuple[Door, ...]:
    """Three ways into them; without TLS twice as often."""
    plain, implicit = (Door(*one.getsockname()) for one in sockets)
    return plain, replace(plain, tls="starttls"), plain, replace(implicit, tls="from the start")


def prepare(directory: Path, authority: trustme.CA, queue: str = "") -> None:
    """Write the configuration.  queue: the line of the plugin that hands over."""
    (directory / "who.py").write_text(WHO)
    tls = f"tls {directory}/cert.pem {directory}/key.pem"
    queue = queue or f"queue/maildir {directory}/Maildir"
    chain = f"who\n{tls}\nrcpt_ok\n{queue}"
    configure(directory, {"plugin_dirs": str(directory), "plugins": chain})
    issue(authority, directory)


@asynccontextmanager
async def serving(
    directory: Path, loop: str, workers: int, *, queue: str = ""
) -> AsyncIterator[Service]:
    """Run the daemon.  Its sockets come as from systemd, but nobody else holds them any more."""
    authority = trustme.CA()
    prepare(directory, authority, queue)
    sockets = listening_sockets()
    async with running_on(sockets, directory, loop, workers) as daemon:
        doors = doors_of(sockets)
        for one in sockets:
            one.close()
        service = Service(daemon, directory, doors, authority)
        log = asyncio.create_task(service.read_log())
        try:
            yield service
        finally:
            log.cancel()


@asynccontextmanager
async def running_on(
    sockets: Sequence[socket.socket], directory: Path, loop: str, workers: int
) -> AsyncIterator[Daemon]:
    """Run the daemon with these sockets."""
    environment = {"QPSMTPD_EVENT_LOOP": loop, "LISTEN_FDNAMES": "smtp:smtps"}
    options: dict[str, Any] = {"listen": [], "workers": workers, "debug": False}
    async with running(
        directory, environment=environment, passed=sockets, patience=PATIENCE, **options
    ) as daemon:
        await daemon.ready()
        yield daemon
