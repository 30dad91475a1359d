# SPDX-License-Identifier: MIT
"""The ends of idle connections, and targets that stand in for others.

What a next hop sees of a pool is in the tests of its plugins.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from qpsmtpd.nexthop import pool
from qpsmtpd.nexthop.client import Client
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target
from tests.unit.fakeloop import FakeLoop
from tests.unit.nexthop.fake import DROP, Answer, FakeHop

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


# --- several targets ------------------------------------------------------------------------


def a_pool(*hops: FakeHop) -> Pool:
    targets = [Target(host="127.0.0.1", port=hop.port, hello="x") for hop in hops]
    return Pool(targets[0], size=5, idle=0, others=targets[1:])


async def hand_over(client: Client) -> int:
    """The code of the last reply to a message."""
    envelope = await client.begin("MAIL FROM:<>", ["RCPT TO:<a@x.test>"], data=True)
    if not envelope.recipients[0].positive:
        return envelope.recipients[0].code

    async def blocks() -> Any:
        yield b"Hello\r\n"

    (reply,) = await client.send_message(blocks(), 1)
    return reply.code


@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": DROP},
        {"greeting": "554 5.7.1 go away"},
        {"EHLO": "421 4.7.0 too many connections"},
        {"MAIL": "421 4.3.2 shutting down"},
        {"RCPT": DROP},
        {"DATA": DROP},
    ],
)
async def test_another_target_stands_in(
    answers: dict[str, Answer], caplog: pytest.LogCaptureFixture
) -> None:
    more: dict[str, Any] = dict(answers)
    async with FakeHop(**more) as first, FakeHop() as second:
        connections = a_pool(first, second)
        for _ in range(2):
            assert await connections.run(hand_over) == 250
        await connections.close()
    assert first.messages == []
    assert len(second.messages) == 2
    # The one that failed was not asked again.
    assert first.connections == 1
    (warning,) = [
        each
        for each in caplog.records
        if each.name == pool.__name__ and each.levelno >= logging.WARNING
    ]
    assert f":{first.port}" in warning.getMessage()
    assert (warning.levelname == "ERROR") is ("554" in str(answers))


async def test_a_target_that_has_failed_comes_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeHop(greeting=[DROP, "220 hop"]) as first, FakeHop() as second:
        connections = a_pool(first, second)
        monkeypatch.setattr(pool, "AVOIDED", 0.0)
        for _ in range(2):
            assert await connections.run(hand_over) == 250
        await connections.close()
    assert (len(first.messages), len(second.messages)) == (1, 1)


async def test_targets_that_have_failed_are_better_than_none() -> None:
    async with FakeHop(greeting=[DROP, "220 hop"]) as first, FakeHop(greeting=DROP) as second:
        connections = a_pool(first, second)
        with pytest.raises(NextHopError):
            await connections.run(hand_over)
        assert await connections.run(hand_over) == 250
        await connections.close()
    assert first.connections == second.connections == 2


async def test_no_other_target_after_the_end_of_a_message() -> None:
    async with FakeHop(dot=DROP) as first, FakeHop() as second:
        connections = a_pool(first, second)
        with pytest.raises(NextHopError) as caught:
            await connections.run(hand_over)
        await connections.close()
    assert caught.value.in_doubt
    assert second.connections == 0


@pytest.mark.parametrize("answers", [{"RCPT": "550 5.1.1 no"}, {"dot": "451 4.3.0 later"}])
async def test_what_a_target_says_of_the_message_counts(answers: dict[str, Answer]) -> None:
    more: dict[str, Any] = dict(answers)
    async with FakeHop(**more) as first, FakeHop() as second:
        connections = a_pool(first, second)
        assert str(await connections.run(hand_over)) in str(answers)
        await connections.close()
    assert second.connections == 0


def test_all_targets_in_the_log() -> None:
    first, second = Target(host="a", hello="x"), Target(host="::1", port=26, hello="x")
    assert str(Pool(first, size=1, idle=1, others=[second])) == "a:25,[::1]:26"
