# SPDX-License-Identifier: MIT
import asyncio
import threading
from collections import Counter

import pytest

from qpsmtpd.dashboard import archive as module
from qpsmtpd.dashboard.archive import Archive, BusyError, Found
from qpsmtpd.decisions.book import Book
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.errors import StoreError
from qpsmtpd.testing import FakeStore
from tests.unit.client import until
from tests.unit.dashboard.examples import opener, write
from tests.unit.decisions.examples import BEGIN, a_decision

ALL = [Selection()]
EVER = float("inf")


async def an_archive(*decisions: Decision) -> Archive:
    store = FakeStore()
    await write(store, decisions)
    return Archive(opener(store))


def numbers(found: Found) -> list[float]:
    return [decision.time - BEGIN for decision in found.decisions]


async def test_pages_have_each_decision_once_however_many_are_of_one_moment() -> None:
    times = [number // 7 for number in range(500)]
    decisions = [a_decision(time, id=f"A.B.{n:X}") for n, time in enumerate(times)]
    archive = await an_archive(*decisions)
    ids: list[str] = []
    until: float | None = EVER
    pages = 0
    while until is not None:
        found = await archive.search(ALL, until)
        ids += [decision.id for decision in found.decisions]
        until, pages = found.further, pages + 1
    assert Counter(ids) == Counter(decision.id for decision in decisions)
    assert pages == pytest.approx(500 / module.PAGE, abs=1)


async def test_one_question_looks_at_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOOKED", 100)
    archive = await an_archive(*map(a_decision, range(300)))
    nobody = [Selection(text="nö such text")]
    found = await archive.search(nobody, EVER)
    assert (found.decisions, found.looked, found.further) == ([], 100, BEGIN + 199)
    found = await archive.search(nobody, BEGIN + 199)
    assert (found.looked, found.further) == (100, BEGIN + 99)
    found = await archive.search(nobody, BEGIN + 99)
    assert (found.looked, found.further) == (100, None)


async def test_one_question_passes_over_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEFT_OUT", 1000)
    store = FakeStore()
    await write(store, [a_decision(number * 10) for number in range(3000)])
    archive, nobody = Archive(opener(store)), [Selection(address="nobody@example.test")]
    found, pages, looked = await archive.search(nobody, EVER), 1, 0
    while found.further is not None:
        assert found.decisions == []
        assert found.looked == pytest.approx(1000, abs=200)
        looked += found.looked
        found, pages = await archive.search(nobody, found.further), pages + 1
    assert pages == 4
    assert looked + found.looked >= 3000


async def test_whoever_is_meant_is_found_however_far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEFT_OUT", 300)
    store = FakeStore()
    others = [a_decision(number * 7, sender="x@x.example") for number in range(2000)]
    meant = [a_decision(number * 100) for number in (140, 95, 60, 7, 0)]
    await write(store, sorted(others + meant, key=lambda each: each.time))
    archive, found, until = Archive(opener(store)), [], EVER
    while True:
        page = await archive.search([Selection(address="sender@client.example")], until)
        found += numbers(page)
        if page.further is None:
            break
        until = page.further
    assert found == [14000, 9500, 6000, 700, 0]


async def test_what_is_older_than_wanted_is_not_looked_at() -> None:
    archive = await an_archive(*map(a_decision, range(300)))
    found = await archive.search([Selection(since=BEGIN + 290)], EVER)
    assert (numbers(found), found.further) == ([*range(299, 289, -1)], None)
    assert found.looked == 10


async def test_several_meanings_of_a_text() -> None:
    archive = await an_archive(
        a_decision(1, sender="x@one.example"), a_decision(2), a_decision(3, reply="550 one.example")
    )
    wanted = [Selection(address="@one.example"), Selection(text="one.example")]
    assert numbers(await archive.search(wanted, EVER)) == [3, 1]


async def test_hashed_addresses_are_found() -> None:
    store = FakeStore()
    key = await Book(store).secret()
    await write(store, [Privacy(addresses="hashed").applied(a_decision(1), key)])
    found = await Archive(opener(store)).search([Selection(address="user@example.test")], EVER)
    assert numbers(found) == [1]


async def test_one_decision() -> None:
    archive = await an_archive(*(a_decision(number, id=f"A.B.{number % 3}") for number in range(9)))
    found = await archive.find("A.B.2", BEGIN + 5)
    assert found is not None
    assert (found.id, found.time) == ("A.B.2", BEGIN + 5)
    assert await archive.find("A.B.2", BEGIN + 4) is None
    assert await archive.find("A.B.2", BEGIN + 99) is None


async def test_a_store_that_is_down() -> None:
    archive = Archive(opener(FakeStore(down=True)))
    with pytest.raises(StoreError):
        await archive.search(ALL, EVER)


class HangingStore(FakeStore):
    """Does not answer before `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    async def get(self, key: str) -> bytes | None:
        while not self.release.is_set():
            await asyncio.sleep(0)
        return None

    def scoped(self, name: str) -> "HangingStore":
        return self


async def test_too_many_questions_are_turned_away() -> None:
    store = HangingStore()
    archive = Archive(opener(store))
    most = module.THREADS + module.MOST_WAITING
    asking = [asyncio.ensure_future(archive.search(ALL, EVER)) for _ in range(most + 1)]
    with pytest.raises(BusyError):
        await asking.pop()
    store.release.set()
    assert {found.looked for found in await asyncio.gather(*asking)} == {0}
    assert (await archive.search(ALL, EVER)).looked == 0


async def test_nobody_waits_for_ever() -> None:
    """And the thread is free again."""
    store = HangingStore()
    archive = Archive(opener(store))
    for _ in range(2 * module.THREADS):
        with pytest.raises(BusyError, match="takes too long"):
            await archive.ask(lambda book: book.state(), 0.0)
    await until(lambda: not archive._asked)
    store.release.set()
    assert (await archive.search(ALL, EVER)).looked == 0
