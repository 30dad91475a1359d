# SPDX-License-Identifier: MIT
import asyncio
import random
import zlib
from itertools import pairwise
from typing import Any

import pytest

from qpsmtpd.decisions.book import CHUNK_SECONDS, Book, Chunk
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.store.operation import Operation
from qpsmtpd.testing import FakeStore
from tests.unit.decisions.examples import BEGIN, a_decision


async def write(book: Book, *decisions: Decision, days: float = 1.0) -> None:
    """Write a chunk."""
    chunk = Chunk.of(decisions[0].time, [decision.encode() for decision in decisions])
    size = len(chunk.packed)
    state = await book.begin(size, days)
    await book.put(state.end - 1, chunk.encode(state.written - size), days)


async def all_of(book: Book) -> tuple[list[Decision], list[Decision]]:
    """Oldest first, and newest first."""
    oldest = [decision async for decision in book.oldest_first()]
    return oldest, [decision async for decision in book.newest_first()]


async def test_chunks_of_several_processes_are_read_in_the_order_of_time() -> None:
    book, shuffled = Book(FakeStore()), random.Random(1)
    chunks = []
    for begin in range(0, 5000, 100):
        times = sorted(shuffled.sample(range(int(CHUNK_SECONDS)), 9))
        chunks.append([a_decision(begin + time - times[0]) for time in times])
    for chunk in chunks:
        await write(book, *chunk)
    oldest, newest = await all_of(book)
    assert len(oldest) == len(newest) == 450
    assert all(one.time <= other.time for one, other in pairwise(oldest))
    assert all(one.time >= other.time for one, other in pairwise(newest))
    assert [each.time async for each in book.oldest_first(BEGIN + 3000)] == [
        each.time for each in oldest if each.time >= BEGIN + 3000
    ]


async def test_the_oldest_are_dropped_when_there_is_too_much() -> None:
    book = Book(FakeStore())
    for number in range(100):
        await write(book, a_decision(number, reply=f"{random.Random(number).random()}"))
        state = await book.state()
        await book.drop(state, 2000, 1)
    state = await book.state()
    oldest, _ = await all_of(book)
    assert [decision.time for decision in oldest] == [
        BEGIN + number for number in range(state.first, 100)
    ]
    assert 3 < len(oldest) < 20


async def test_what_has_expired_or_was_never_written_is_passed_over() -> None:
    store = FakeStore()
    book = Book(store)
    await write(book, a_decision(1))
    await book.begin(10, 1)
    await write(book, a_decision(2))
    await store.scoped("decisions kept").delete("000000000000")
    oldest, newest = await all_of(book)
    assert [each.time for each in oldest] == [BEGIN + 2] == [each.time for each in newest]
    await book.drop(await book.state(), 1 << 20, 1)
    assert (await book.state()).first == 2


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"QD2\n", b"QD9\n" + bytes(16) + b"x", b"QD2\n" + bytes(16) + b"not zlib"),
        b"QD2\n" + bytes(16) + zlib.compress(b"a decision\x1fwith other fields"),
    ],
)
async def test_a_damaged_chunk_hides_no_other(data: bytes) -> None:
    store = FakeStore()
    book = Book(store)
    await write(book, a_decision(1))
    await book.put((await book.begin(1, 1)).end - 1, data, 1)
    await write(book, a_decision(2))
    oldest, _ = await all_of(book)
    assert len(oldest) == 2
    assert book.damaged


async def test_a_damaged_state_begins_anew() -> None:
    store = FakeStore()
    book = Book(store)
    await store.scoped("decisions kept").put("state", b"nonsense", 1)
    await write(book, a_decision(1))
    assert len((await all_of(book))[0]) == 1


async def test_the_secret_stays_the_same() -> None:
    book = Book(FakeStore())
    assert await book.known_secret() is None
    assert await book.secret() == await book.secret() == await book.known_secret()


async def test_watching_shows_what_is_new() -> None:
    book = Book(FakeStore())
    await write(book, a_decision(1))
    watching = book.watch(0)
    assert await anext(watching) == []
    await write(book, a_decision(3), a_decision(4))
    await write(book, a_decision(2))
    async with asyncio.timeout(10):
        assert [each.time - BEGIN for each in await anext(watching)] == [2, 3, 4]
        chunk = Chunk.of(BEGIN, [a_decision(number).encode() for number in (3, 4, 5)])
        await book.put(1, chunk.encode(0), 1)
        assert [each.time - BEGIN for each in await anext(watching)] == [5]
        assert await anext(watching) == []
    await watching.aclose()  # type: ignore[attr-defined]


async def test_reading_back_from_a_time_looks_at_few_chunks() -> None:
    store = CountingStore()
    book = Book(store)
    for number in range(0, 1000, 2):
        await write(book, a_decision(number * 100), a_decision(number * 100 + 50))
    for missing in (*range(240, 260), 499):
        await store.scoped("decisions kept").delete(f"{missing:012}")
    for until in (0, 75, 31_400, 50_000, 99_850, 10**9):
        store.asked = 0
        newest = book.newest_first(BEGIN + until)
        found = [await anext(newest) for _ in range(3 if until > 200 else 1)]
        assert [each.time for each in found] == [
            each.time async for each in book.newest_first() if each.time <= BEGIN + until
        ][: len(found)]
        await newest.aclose()  # type: ignore[attr-defined]
    store.asked = 0
    newest = book.newest_first(BEGIN + 31_400)
    await anext(newest)
    assert store.asked < 100
    assert [each async for each in book.newest_first(BEGIN - 1)] == []


async def test_a_period_is_read_alone() -> None:
    store = CountingStore()
    book = Book(store)
    told: list[float] = []
    book.tell = told.append
    # Some chunks begin a minute before those in front of them.
    for number in range(1000):
        await write(book, a_decision(number * 100 - 59 * (number % 3)))
    every = [each.time async for each in book.oldest_first()]
    assert told[-1] == 1.0
    assert told == sorted(told)
    for since, until in ((0, 10**6), (50_000, 50_900), (50_041, 50_041), (99_900, 10**6), (-9, -1)):
        store.asked = 0
        found = [each.time async for each in book.oldest_first(BEGIN + since, BEGIN + until)]
        wanted = [time for time in every if BEGIN + since <= time <= BEGIN + until]
        assert sorted(found) == sorted(wanted)
        assert store.asked < 100 or since == 0


async def test_what_a_sieve_leaves_out_is_counted() -> None:
    book = Book(FakeStore())
    for number in range(0, 40, 4):
        await write(
            book, *(a_decision(each, id=f"A.B.{each}.1") for each in range(number, number + 4))
        )
    found = [each async for each in book.newest_first(sieve=lambda octets: b"A.B.6.1" in octets)]
    assert [each.time - BEGIN for each in found] == [6]
    assert book.left_out == 39


class CountingStore(FakeStore):
    """Counts what is read."""

    asked = 0

    async def _carry_out(self, operation: Operation) -> Any:
        self.asked += 1
        return await super()._carry_out(operation)
