# SPDX-License-Identifier: MIT
"""The servers of the tests: whoever is connected when one ends is cut off, however far it came."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.continuity.between import Between
from tests.ports import refusing_port
from tests.stream_server import port_of, stream_server

#: Seconds until a client complains.
PATIENCE = 20
#: Turns of the loop after which a server ends; a connection that it took has long been served then.
TURNS = range(8)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def plain() -> AsyncIterator[int]:
    async with stream_server(silent) as server:
        yield port_of(server)


@asynccontextmanager
async def between() -> AsyncIterator[int]:
    with refusing_port() as nobody:
        async with Between(nobody) as server:
            yield server.port


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("serving", [plain, between])
async def test_an_end_cuts_off_who_has_just_come(
    turns: int, serving: Callable[[], AbstractAsyncContextManager[int]]
) -> None:
    async with serving() as port:
        client = connected(port)
        for _ in range(turns):
            await asyncio.sleep(0)
    assert await has_ended(client)


async def test_a_change_cuts_off_who_is_connected() -> None:
    with refusing_port() as nobody:
        async with Between(nobody) as server:
            await server.become("paused")
            client = connected(server.port)
            await server.met()
            await server.become("other")
            assert await has_ended(client)


def connected(port: int) -> socket.socket:
    """A client that the kernel has let in, and the server has not seen yet."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def has_ended(client: socket.socket) -> bool:
    with client:
        async with asyncio.timeout(PATIENCE):
            try:
                return await asyncio.get_running_loop().sock_recv(client, 1) == b""
            except ConnectionError:
                return True
