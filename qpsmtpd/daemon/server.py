# SPDX-License-Identifier: MIT
"""Server: one worker.  It accepts connections on listening sockets and hosts their sessions.

It knows nothing of processes and signals; workers.py does.  A reload swaps the snapshot in one
assignment: connections keep the one they began with, and its plugins are stopped when the last
of them is gone.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qpsmtpd.config.loader import Snapshot
from qpsmtpd.daemon.clientnames import ClientNames
from qpsmtpd.session import Endpoint, ReverseLookup
from qpsmtpd.smtp.protocol import SmtpProtocol

log = logging.getLogger(__name__)

#: Connections that may wait for accept; a burst beyond it costs each client a second.
BACKLOG = 4096


@dataclass(frozen=True)
class Listener:
    """A listening socket; tls means implicit TLS (RFC 8314)."""

    socket: socket.socket
    tls: bool = False


class Server:
    """Hosts the sessions of one process."""

    def __init__(self, snapshot: Snapshot, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._snapshot = snapshot
        self._names = ClientNames(loop)
        self._servers: list[asyncio.Server] = []
        self._protocols: set[SmtpProtocol] = set()
        self._by_client: Counter[str] = Counter()
        self._by_snapshot: Counter[int] = Counter()
        self._retired: dict[int, Snapshot] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    # --- Host -------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The configuration for new connections."""
        return self._snapshot

    def admit(self, protocol: SmtpProtocol, ip: str) -> int:
        """Register a connection; the number its client has open now, 0 when the worker is full."""
        limit = self._snapshot.settings.max_connections
        if limit and len(self._protocols) >= limit:
            log.warning("too many connections limit=%d ip=%s", limit, ip)
            return 0
        self._protocols.add(protocol)
        self._by_client[ip] += 1
        self._by_snapshot[id(self._snapshot)] += 1
        self._empty.clear()
        return self._by_client[ip]

    def forget(self, protocol: SmtpProtocol, ip: str) -> None:
        """The connection is over."""
        self._protocols.discard(protocol)
        self._by_client[ip] -= 1
        if not self._by_client[ip]:
            del self._by_client[ip]
        assert protocol.connection is not None
        self._release(protocol.connection.snapshot)
        if not self._protocols:
            self._empty.set()

    def reverse_lookup(self, ip: str) -> ReverseLookup:
        """Begin to look up the client's name; returns what waits for it."""
        return self._names.begin(ip, self._snapshot)

    # --- listening --------------------------------------------------------------------------

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Accept connections on these sockets from now on."""
        for listener in listeners:
            server = await self._loop.create_server(
                self._factory(listener.tls), sock=listener.socket, backlog=BACKLOG
            )
            self._servers.append(server)

    def _factory(self, tls: bool) -> Callable[[], SmtpProtocol]:
        return lambda: SmtpProtocol(self, self._loop, implicit_tls=tls)

    async def serve_one(
        self,
        connected: socket.socket,
        client: Endpoint | None,
        local: Endpoint | None,
    ) -> None:
        """Serve one connection that somebody else accepted, to its end (tcpserver, inetd)."""
        await self._loop.connect_accepted_socket(
            lambda: SmtpProtocol(self, self._loop, client=client, local=local), connected
        )
        await self._empty.wait()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._protocols)

    # --- changes ----------------------------------------------------------------------------

    def reload(self, snapshot: Snapshot) -> None:
        """Use a new configuration for new connections."""
        old, self._snapshot = self._snapshot, snapshot
        self._retired[id(old)] = old
        self._names.forget()
        self._stop_if_unused(old)

    def _release(self, snapshot: Snapshot) -> None:
        self._by_snapshot[id(snapshot)] -= 1
        self._stop_if_unused(snapshot)

    def _stop_if_unused(self, snapshot: Snapshot) -> None:
        if self._by_snapshot[id(snapshot)] > 0 or id(snapshot) not in self._retired:
            return
        del self._by_snapshot[id(snapshot)], self._retired[id(snapshot)]
        task = self._loop.create_task(snapshot.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def drain(self, deadline: float) -> int:
        """Stop accepting, let transactions finish, and close.  Returns how many were cut.

        deadline: seconds that sessions have for it.
        """
        for server in self._servers:
            server.close()
        for protocol in tuple(self._protocols):
            protocol.drain()
        try:
            async with asyncio.timeout(deadline):
                await self._empty.wait()
        except TimeoutError:
            pass
        cut = tuple(self._protocols)
        for protocol in cut:
            protocol.cut()
        if cut:
            log.warning("cut %d connections after %gs", len(cut), deadline)
            await asyncio.wait([protocol.task for protocol in cut if protocol.task])
        await self._snapshot.stop()
        await asyncio.gather(*self._stopping)
        return len(cut)
