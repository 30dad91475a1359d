# SPDX-License-Identifier: MIT
"""Stores of every kind, for tests that hold for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qpsmtpd.plugin.services import Store
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import SharedStore, shared_store
from qpsmtpd.store.sqlite import SqliteBackend
from qpsmtpd.testing import FakeClock, FakeStore
from tests.redis_server import RedisServer, redis_server

#: Seconds after which a store is down; long enough for a busy machine.
TIMEOUT = 10.0


@dataclass(frozen=True)
class Subject:
    """A store, and a way to let its time pass; `short` is a ttl whose end can be waited for.

    set_clock: jump by these seconds, as a clock does that was wrong and is set right.
    """

    store: Store
    short: float
    advance: Callable[[], Awaitable[None]]
    set_clock: Callable[[float], None]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let time pass until this is so."""
        while not await condition():
            await self.advance()


@asynccontextmanager
async def fake(_directory: Path) -> AsyncIterator[Subject]:
    clock = FakeClock()
    yield Subject(FakeStore(clock), 60, _advance(clock), clock.jump)


@asynccontextmanager
async def sqlite(directory: Path) -> AsyncIterator[Subject]:
    clock = FakeClock()
    store = SharedStore(SqliteBackend(directory / "store.sqlite", TIMEOUT, clock), TIMEOUT)
    try:
        yield Subject(store, 60, _advance(clock), clock.jump)
    finally:
        await store.close()


@asynccontextmanager
async def redis(_directory: Path) -> AsyncIterator[Subject]:
    with redis_server() as server:
        store = shared_store(parse_location(server.url), TIMEOUT)
        # The time is the server's.
        try:
            yield Subject(store, 0.05, lambda: asyncio.sleep(0), partial(set_clock, server))
        finally:
            await store.close()


#: What a server's clock leaves behind when it jumps: other times until the end of each entry.
_JUMP = (
    "for _, key in ipairs(redis.call('KEYS', '*')) do"
    " local left = redis.call('PTTL', key) - ARGV[1]"
    " redis.call('PEXPIRE', key, string.format('%d', left)) end"
)


def set_clock(server: RedisServer, seconds: float) -> None:
    server.command("EVAL", f'"{_JUMP}"', "0", f"{seconds * 1000:.0f}")


def _advance(clock: FakeClock) -> Callable[[], Awaitable[None]]:
    async def advance() -> None:
        clock.advance(10)

    return advance
