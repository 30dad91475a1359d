# SPDX-License-Identifier: MIT
"""The measurement itself: a server that does each of the things that must not be is found out."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.continuity.stream import (
    CLIENTS,
    Account,
    Door,
    Session,
    Stream,
    Tally,
    ids_in,
    streaming,
)
from tests.stream_server import port_of, stream_server


async def talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delivered: list[str], final: bytes
) -> None:
    """A server that takes every message; `final` is its reply, nothing is the end."""
    writer.write(b"220 mx.example\r\n")
    while line := await reader.readline():
        verb = line[:4].upper()
        writer.write({b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
        if verb == b"DATA":
            delivered += ids_in(await reader.readuntil(b"\r\n.\r\n"))
            if not final:
                return
            writer.write(final)
        if verb == b"QUIT":
            return


async def measured(replies: list[bytes]) -> tuple[Tally, list[str]]:
    """Let clients come to a server that gives these final replies in turn."""
    delivered: list[str] = []
    turn = iter(range(1 << 30))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer, delivered, replies[next(turn) % len(replies)])

    async with stream_server(serve, limit=1 << 20) as server:
        door = Door("127.0.0.1", port_of(server))
        async with streaming([door], messages=2 * CLIENTS) as stream:
            pass
    return stream.tally, delivered


TAKEN = b"250 ok\r\n"


async def test_nothing_happens() -> None:
    tally, delivered = await measured([TAKEN])
    assert len(tally.accepted) >= 2 * CLIENTS
    assert problems(tally.account("x", delivered)) == []


async def test_a_connection_that_ends_behind_the_dot() -> None:
    tally, delivered = await measured([TAKEN, b""])
    assert tally.cut
    assert {session.sent for session in tally.cut} == set(tally.unanswered)
    account = tally.account("x", delivered)
    assert [text.split(":")[0] for text in problems(account)] == ["reset"]
    assert f" {len(tally.cut)} reset, 0 lost, 0 duplicated; 0 told 421" in str(account)


async def test_replies_nobody_hopes_for() -> None:
    tally, delivered = await measured([TAKEN, b"451 no\r\n", b"421 come again\r\n"])
    assert set(tally.unexpected) == {"451 no"}
    assert tally.told
    found = problems(tally.account("x", delivered))
    assert [text.split(":")[0] for text in found] == ["unexpected", "delivered without 250"]


@pytest.mark.parametrize(
    ("delivered", "found"),
    [
        (["a", "b"], []),
        (["a"], ["lost: ['b']"]),
        (["a", "b", "a"], ["duplicated: ['a']"]),
        (["a", "b", "c"], ["delivered without 250: ['c']"]),
        (["a", "b", "behind the dot"], []),
    ],
)
def test_what_arrived(delivered: list[str], found: list[str]) -> None:
    tally = Tally(accepted=["a", "b"], unanswered=["behind the dot"])
    assert problems(tally.account("x", delivered)) == found


def test_who_could_not_but_be_cut() -> None:
    tally = Tally(cut=[Session(0, worker=7), Session(0, worker=8)])
    found = tally.account("x", []).problems(cut=lambda session: session.worker == 7)
    assert found[0].startswith("reset: [Session(epoch=0, worker=8")


def test_too_few_messages() -> None:
    assert Tally(accepted=["a"]).account("x", ["a"]).problems() == ["only 1 messages"]


async def test_a_refused_connection() -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        stream = Stream([Door(*bound.getsockname())], None, "user@example.test")
        await stream.session()
    assert stream.tally.refused == 1
    assert problems(stream.tally.account("x", [])) == ["1 refused"]


def problems(account: Account) -> list[str]:
    return [text for text in account.problems() if not text.startswith("only")]
