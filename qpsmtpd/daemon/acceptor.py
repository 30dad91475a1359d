# SPDX-License-Identifier: MIT
"""Acceptor: accepts connections from a listening socket that it shares with other workers.

It can rest, and the others accept what comes meanwhile; nothing that it has accepted is lost.

uvloop's own server accepts one connection at a time (all that wait, with libuv before 1.46), and
costs less than anything written in Python.  asyncio's accepts 4096 before it serves the first, so
that one worker gets a whole burst; it drops what it has accepted when it is closed; and without
descriptors it logs a traceback for each of the 4096.  So on asyncio we accept ourselves.

Without descriptors uvloop closes the connections that wait, and tells nobody; so the server has to
see to it that there are some (server.py).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

log = logging.getLogger(__name__)

#: Connections that may wait for accept; a burst beyond that costs each client a second.  The kernel
#: limits it to net.core.somaxconn, which is 4096 unless the administrator raises it.
BACKLOG = 65535

#: From Python 3.13 on uvloop would remove a Unix socket with its server; but it belongs to systemd
#: or to all workers, and may lie where we cannot even look at it.
_KEEP_SOCKET: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

#: Connections that are accepted in one go, before others are served (asyncio).
_AT_A_TIME = 4
#: The most turns of the event loop from accepting a connection to its session (uvloop).
_ACCEPTING_TURNS = 4
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Factory = Callable[[], asyncio.BaseProtocol]
#: Called when the system has no descriptor or no memory left; `start` is to be called again later.
OutOfResources = Callable[[OSError], None]


class Acceptor(Protocol):
    """Accepts connections from a listening socket."""

    listening: socket.socket

    async def start(self) -> None:
        """Accept connections, for the first time or again."""

    def rest(self) -> None:
        """Accept none until `start`; they wait for whoever does."""

    async def close(self) -> None:
        """Close the socket; every connection that was accepted has its session then."""


def make_acceptor(
    loop: asyncio.AbstractEventLoop,
    listening: socket.socket,
    factory: Factory,
    out_of_resources: OutOfResources,
) -> Acceptor:
    """The acceptor for this kind of event loop.  It owns the socket."""
    if isinstance(loop, asyncio.BaseEventLoop):
        return _AsyncioAcceptor(loop, listening, factory, out_of_resources)
    return _UvloopAcceptor(loop, listening, factory)


class _AsyncioAcceptor:
    """Accepts connections itself."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        factory: Factory,
        out_of_resources: OutOfResources,
    ) -> None:
        self._loop = loop
        self.listening = listening
        self._factory = factory
        self._out_of_resources = out_of_resources
        self._beginning: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        self._loop.add_reader(self.listening, self._accept)

    def rest(self) -> None:
        self._loop.remove_reader(self.listening)

    async def close(self) -> None:
        self.rest()
        self.listening.close()
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _accept(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                connected, _ = self.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                self.rest()
                self._out_of_resources(error)
                return
            connected.setblocking(False)
            self._begin(connected)

    def _begin(self, connected: socket.socket) -> None:
        beginning = self._loop.connect_accepted_socket(self._factory, connected)
        task: asyncio.Task[object] = self._loop.create_task(beginning)
        self._beginning.add(task)
        task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[object]) -> None:
        self._beginning.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a connection cannot begin: %s", error)


class _UvloopAcceptor:
    """Leaves accepting to a server of the event loop, which gets a duplicate of the socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, factory: Factory
    ) -> None:
        self._loop = loop
        self.listening = listening
        self._factory = factory
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if self._server is None:
            create: Any = self._loop.create_server
            if self.listening.family == socket.AF_UNIX:
                create = partial(self._loop.create_unix_server, **_KEEP_SOCKET)
            self._server = await create(self._factory, sock=self.listening.dup(), backlog=BACKLOG)

    def rest(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        self.rest()
        self.listening.close()
        for _ in range(_ACCEPTING_TURNS):
            await asyncio.sleep(0)
