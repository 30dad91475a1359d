# SPDX-License-Identifier: MIT
import asyncio
import itertools
from contextlib import aclosing

import pytest

from qpsmtpd.dashboard import live as module
from qpsmtpd.dashboard.archive import BusyError
from qpsmtpd.dashboard.live import Live
from tests.unit.client import PATIENCE


class Making:
    """Makes numbers, one whenever `go` says so."""

    def __init__(self) -> None:
        self.made = itertools.count()
        self.go = asyncio.Semaphore(0)

    async def __call__(self) -> str:
        await self.go.acquire()
        return str(next(self.made))


async def test_all_viewers_get_what_is_made_once() -> None:
    making = Making()
    live = Live(making, 0)
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(live.texts()) as one,
        aclosing(live.texts()) as two,
    ):
        waiting = [asyncio.ensure_future(anext(each)) for each in (one, two)]
        await asyncio.sleep(0)
        making.go.release()
        assert await asyncio.gather(*waiting) == ["0", "0"]
        making.go.release()
        assert await anext(two) == "1"


async def test_nothing_is_made_for_nobody() -> None:
    making = Making()
    live = Live(making, 0)
    async with asyncio.timeout(PATIENCE), aclosing(live.texts()) as texts:
        making.go.release()
        assert await anext(texts) == "0"
    assert live._making is None


async def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VIEWERS", 1)
    making = Making()
    live = Live(making, 0)
    making.go.release()
    async with asyncio.timeout(PATIENCE), aclosing(live.texts()) as texts:
        await anext(texts)
        with pytest.raises(BusyError):
            await anext(live.texts())


async def test_a_fault_ends_nothing() -> None:
    texts = iter(["first", ""])

    async def failing_first() -> str:
        if (text := next(texts)) == "first":
            raise RuntimeError("once")
        return text or "again"

    live = Live(failing_first, 0)
    async with asyncio.timeout(PATIENCE), aclosing(live.texts()) as seen:
        assert await anext(seen) == "again"


async def test_closing_lets_viewers_go() -> None:
    live = Live(Making(), 0)
    waiting = asyncio.ensure_future(anext(live.texts()))
    await asyncio.sleep(0)
    live.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
