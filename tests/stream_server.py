# SPDX-License-Identifier: MIT
"""Servers made of a coroutine, which end with all their connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: Turns of asyncio's loop from the moment when it accepts a connection until the server has it.
_ACCEPTING_TURNS = 3


@contextlib.asynccontextmanager
async def stream_server(
    talk: Talk, path: Path | None = None, **options: Any
) -> AsyncIterator[asyncio.Server]:
    """Serve on this unix socket, or on a free port of 127.0.0.1.

    A connection is closed when its `talk` returns; what still talks at the end is cancelled.
    """
    talks = Talks(talk)
    if path is None:
        server = await asyncio.start_server(talks.accept, "127.0.0.1", 0, **options)
    else:
        server = await asyncio.start_unix_server(talks.accept, path, **options)
    try:
        yield server
    finally:
        await talks.end(server)


class Talks:
    """The connections of a server, each with the task that talks to it."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._tasks: set[asyncio.Task[None]] = set()
        #: Also of those whose talk is over, while they still send.
        self._writers = WeakSet[asyncio.StreamWriter]()

    # A task is known before it runs for the first time, or it might be left at the end.
    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to who has connected; what `asyncio.start_server` is given."""
        self._writers.add(writer)
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, server: asyncio.Server) -> None:
        """Close the server, and cut off everybody, also who is connected and not served yet."""
        # A server that is closed in between loses the connection, and nobody closes it.
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(_ACCEPTING_TURNS):
            await asyncio.sleep(0)
        server.close()
        await self.cut_off()

    async def cut_off(self) -> None:
        """Close all connections, also those whose task was not yet run, and never will be."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        # A transport closes its socket in the next turn of the loop.
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._talk(reader, writer)
        finally:
            writer.close()


def port_of(server: asyncio.Server) -> int:
    """The port that it listens on."""
    port: int = server.sockets[0].getsockname()[1]
    return port
