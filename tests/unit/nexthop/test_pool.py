# SPDX-License-Identifier: MIT
"""The ends of idle connections.  What a next hop sees of a pool is in the tests of its plugins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qpsmtpd.nexthop import pool
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target
from tests.unit.fakeloop import FakeLoop

IDLE = 10.0


class FakeClient:
    """A connection that notes when it was left."""

    usable = True
    harmless = True

    def __init__(self, loop: FakeLoop) -> None:
        self._loop = loop
        self.left: float | None = None

    def leave(self) -> None:
        assert self.left is None
        self.left = self._loop.now


async def test_each_idle_connection_has_its_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = FakeLoop()
    connections: Any = Pool(Target(host="h", port=25, hello="x"), size=5, idle=IDLE)
    monkeypatch.setattr(pool, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    clients = [FakeClient(loop) for _ in range(4)]
    began = []
    for client, pause in zip(clients, (4.0, 0.0, 8.0, 0.0), strict=True):
        connections._take_back(client)
        began.append(loop.now)
        loop.advance(pause)
    loop.advance(2 * IDLE)
    assert [client.left for client in clients] == [since + IDLE for since in began]
    # The timer of the last one was the last timer; the next one has its own again.
    again = FakeClient(loop)
    connections._take_back(again)
    loop.advance(IDLE)
    assert again.left == loop.now
