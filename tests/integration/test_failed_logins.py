# SPDX-License-Identifier: MIT
"""Failed logins are counted for all workers and machines: by SQLite, and by the real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import FakeClock, a_session
from tests.redis_server import redis_server
from tests.unit.client import PATIENCE
from tests.unit.fakewire import FakeWire, a_plugin_with, a_snapshot, always

PLAIN = b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n"
FAILED = "535 5.7.8 Authentication credentials invalid"
TOO_MANY = "421 4.7.0 Too many failed authentications from you, try again later"


@pytest.fixture(params=["sqlite", "redis"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What the file `store` says on each of the machines."""
    if request.param == "sqlite":
        yield f"{tmp_path}/store.sqlite"
        return
    with redis_server() as server:
        yield server.url


@asynccontextmanager
async def workers(location: str, count: int) -> AsyncIterator[list[Snapshot]]:
    """Workers of one machine or several: each has a connection to the store of its own."""
    stores = [shared_store(parse_location(location), PATIENCE) for _ in range(count)]
    judge = a_plugin_with(auth=always(None))
    try:
        yield [
            a_snapshot(
                judge, auth=("PLAIN",), store=store, clock=FakeClock(), max_auth_failures_from_ip=4
            )
            for store in stores
        ]
    finally:
        for store in stores:
            await store.close()


async def fail(worker: Snapshot, ip: str = "192.0.2.1") -> FakeWire:
    """A session with one wrong password."""
    wire = FakeWire(b"EHLO client.example\r\n", PLAIN)
    await converse(Connection(a_session(ip), worker, wire))
    return wire


async def test_each_worker_knows_what_failed_at_the_others(location: str) -> None:
    async with workers(location, 3) as (one, two, three):
        pauses = [(await fail(worker)).pauses for worker in (one, two, three, one)]
        assert pauses == [[1], [2], [4], [8]]
        for worker in (one, two, three):
            assert (await fail(worker)).replies[2:] == [TOO_MANY]
        other = await fail(two, "192.0.2.2")
        assert (other.replies[2:], other.pauses) == ([FAILED], [1])


async def test_a_worker_that_is_new_knows_it_as_well(location: str) -> None:
    async with workers(location, 1) as (one,):
        await fail(one)
    async with workers(location, 1) as (new,):
        assert (await fail(new)).pauses == [2]


async def test_many_at_once_at_all_workers_gain_nothing(location: str) -> None:
    async with workers(location, 3) as all_of_them:
        wires = await asyncio.gather(*(fail(each) for each in all_of_them for _ in range(10)))
    judged = [wire for wire in wires if wire.replies[2:] == [FAILED]]
    refused = [wire for wire in wires if wire.replies[2:] == [TOO_MANY]]
    assert (len(judged), len(refused)) == (4, 26)
    assert sorted(pause for wire in judged for pause in wire.pauses) == [1, 2, 4, 8]
