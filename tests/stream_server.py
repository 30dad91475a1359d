# SPDX-License-Identifier: MIT
"""Servers made of a coroutine, which end with all their connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def stream_server(
    talk: Talk, path: Path | None = None, **options: Any
) -> AsyncIterator[asyncio.Server]:
    """Serve on this unix socket, or on a free port of 127.0.0.1.

    A connection is closed when its `talk` returns; what still talks at the end is cancelled.
    """
    tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await talk(reader, writer)
        finally:
            writer.close()

    # It is known before it runs for the first time, or it might be left at the end.
    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks[asyncio.ensure_future(serve(reader, writer))] = writer

    if path is None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
    else:
        server = await asyncio.start_unix_server(accept, path, **options)
    try:
        yield server
    finally:
        server.close()
        await _end(tasks)


async def _end(tasks: dict[asyncio.Task[None], asyncio.StreamWriter]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in tasks.values():
        writer.transport.abort()
    # A transport closes its socket in the next turn of the loop.
    await asyncio.sleep(0)


def port_of(server: asyncio.Server) -> int:
    """The port that it listens on."""
    port: int = server.sockets[0].getsockname()[1]
    return port
