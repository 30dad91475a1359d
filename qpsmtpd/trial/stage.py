# SPDX-License-Identifier: MIT
"""Stage: a configuration on which messages are tried, served by the code of the daemon.

Clients come over socket pairs.  They have the addresses that they are given, and however many come
at a time, each is tried as if it were alone.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from qpsmtpd.config.loader import Rehearsal, load
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon.server import Server
from qpsmtpd.decisions.decision import Said
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import AuthAttempt, Session, Transaction
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import Verdict, accept
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import Begun, Chain, ChainedPlugin, Handler
from qpsmtpd.plugin.services import Resolver
from qpsmtpd.smtp.protocol import SmtpProtocol
from qpsmtpd.smtp.proxyhandshake import ProxyHandshake
from qpsmtpd.store.overlay import Overlay
from qpsmtpd.store.view import Ask
from qpsmtpd.trial import course

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_LOCAL = Endpoint("127.0.0.1", 25)
#: Octets of a reply line and more.
_LIMIT = 1 << 16
_DRAIN = 5.0


class Stage:
    """A configuration that is ready to be tried.  `password`: with it, any user can log in."""

    def __init__(self, snapshot: Snapshot, password: str) -> None:
        self.snapshot = snapshot
        self.password = password
        self._loop = asyncio.get_running_loop()
        self._server = Server(snapshot, self._loop)

    async def connect(
        self, client: Endpoint | None = None, *, implicit_tls: bool = False, lmtp: bool = False
    ) -> tuple[StreamReader, StreamWriter]:
        """Connect as this client, which never talks early; without one, as a local proxy or client
        about which nothing is assumed."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)

        def protocol() -> SmtpProtocol | ProxyHandshake:
            if client is not None:
                return _Patient(self._server, self._loop, client=client, local=_LOCAL)
            proxied = bool(self.snapshot.settings.proxy_networks)
            kind = ProxyHandshake if proxied else SmtpProtocol
            return kind(self._server, self._loop, implicit_tls=implicit_tls, lmtp=lmtp)

        await self._loop.connect_accepted_socket(protocol, theirs)
        return await asyncio.open_connection(sock=ours, limit=_LIMIT)

    async def close(self) -> None:
        """End what is left, and stop the plugins."""
        await self._server.drain(_DRAIN)


class _Patient(SmtpProtocol):
    """The wire of a client of which is known that it waits, so that nobody has to see it wait."""

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        if teaser:
            return await super().early_input(0, teaser=True)
        await asyncio.sleep(0)
        return bool(self.pending_input)

    async def tarpit(self, seconds: float) -> bool:
        return True


class _WatchedChain(Chain):
    """A chain that writes down every answer."""

    def _begin(self, handler: Handler, hook: str, args: tuple[Any, ...]) -> Answer | Begun | None:
        answer = super()._begin(handler, hook, args)
        if isinstance(answer, Answer):
            _write_down(answer)
        return answer

    async def _finish(self, hook: Begun) -> Answer | None:
        answer = await super()._finish(hook)
        if answer is not None:
            _write_down(answer)
        return answer


def _write_down(answer: Answer) -> None:
    now = course.current()
    if now is not None:
        now.pending.append(Said.of(answer))


class _AnyLogin(Plugin[Any]):
    """Lets any user in who has the password of the stage."""

    password = ""

    async def hook_auth(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return accept() if self.password and attempt.password == self.password else None


@asynccontextmanager
async def staged(
    directories: Sequence[Path],
    environment: Mapping[str, str],
    *,
    resolver: Resolver | None = None,
    below: Ask | None = None,
    limits: bool = False,
    logins: bool = False,
) -> AsyncIterator[Stage]:
    """Load a configuration to try messages.  Raises ConfigErrors.

    below: carries out what reads from the store.
    limits: whether limits on connections hold, as they do for a dialogue.
    logins: whether clients can log in with the password of the stage.
    """
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-try-") as spool_dir:
        rehearsal = Rehearsal(Overlay(below), Path(spool_dir))
        snapshot = await load(directories, environment, resolver=resolver, rehearsal=rehearsal)
        password = secrets.token_urlsafe()
        stage = Stage(_prepared(snapshot, password if logins else "", limits=limits), password)
        try:
            yield stage
        finally:
            await stage.close()


def _prepared(snapshot: Snapshot, password: str, *, limits: bool) -> Snapshot:
    """The snapshot with a chain that hands nothing over; with a password, it lets users in."""
    plugins = snapshot.chain.plugins
    for chained in plugins:
        if "queue" in chained.plugin.hooks():
            vars(chained.plugin)["hook_queue"] = _kept_back(chained.plugin)
    settings, mechanisms = snapshot.settings, snapshot.auth_mechanisms
    if password:
        login = _AnyLogin("try", _AnyLogin.Options(), snapshot.services)
        login.password = password
        plugins = (ChainedPlugin(login), *plugins)
        mechanisms = tuple(dict.fromkeys(("PLAIN", *mechanisms)))
    if not limits:
        settings = replace(settings, admission_exempt=_EVERYBODY, max_connections=0)
    chain = _WatchedChain(plugins, settings.hook_timeout, record_all=True)
    return replace(snapshot, chain=chain, settings=settings, auth_mechanisms=mechanisms)


def _kept_back(plugin: Plugin[Any]) -> Callable[[Transaction], Awaitable[Verdict | None]]:
    """In place of the plugin's `hook_queue`."""

    async def hook_queue(tx: Transaction) -> Verdict | None:
        if not plugin.would_take(tx):
            return None
        now = course.current()
        if now is not None:
            now.handed_over = course.HandedOver.of(plugin.name, tx)
        return accept("Nothing was handed over: this was a trial")

    return hook_queue
