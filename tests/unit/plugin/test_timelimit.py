# SPDX-License-Identifier: MIT
"""time_limit does what asyncio.timeout does, in every case that can be told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from qpsmtpd.plugin.timelimit import time_limit


class Within(Protocol):
    """Awaits something for at most so many seconds; tells whether they have passed."""

    async def __call__(self, seconds: float | None, wait: Awaitable[Any]) -> Any: ...


async def ours(seconds: float | None, wait: Awaitable[Any]) -> Any:
    with time_limit(seconds) as limit:
        try:
            return await wait
        finally:
            expired.append(limit.expired)


async def asyncios(seconds: float | None, wait: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds) as limit:
        try:
            return await wait
        finally:
            expired.append(bool(limit.when() is not None and _is_expiring(limit)))


def _is_expiring(limit: asyncio.Timeout) -> bool:
    return "expiring" in repr(limit)


#: Whether the time was over when the wait was; of the last test.
expired: list[bool] = []

both = pytest.mark.parametrize("within", [ours, asyncios])


@pytest.fixture(autouse=True)
def forget() -> None:
    expired.clear()


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def a_value() -> str:
    await asyncio.sleep(0)
    return "value"


def nobody_wants_us_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


@both
@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_what_is_quick_enough(within: Within, seconds: float | None) -> None:
    assert await within(seconds, a_value()) == "value"
    assert expired == [False]


@both
@pytest.mark.parametrize("seconds", [0.0, 0.001, -1.0])
async def test_what_is_not(within: Within, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await within(seconds, for_ever())
    assert expired == [True]
    assert nobody_wants_us_to_end()
    await asyncio.sleep(0)


@both
async def test_a_time_out_of_something_else(within: Within) -> None:
    async def late() -> None:
        raise TimeoutError("own")

    with pytest.raises(TimeoutError, match="own"):
        await within(60.0, late())
    assert expired == [False]


@both
@pytest.mark.parametrize(("inner", "outer"), [(0.001, 60.0), (60.0, 0.001), (None, 0.001)])
async def test_one_within_another(within: Within, inner: float | None, outer: float) -> None:
    async def nested() -> str:
        try:
            await within(inner, for_ever())
        except TimeoutError:
            return "inner"
        return ""

    try:
        ended = await within(outer, nested())
    except TimeoutError:
        ended = "outer"
    assert ended == ("inner" if inner == 0.001 else "outer")
    assert nobody_wants_us_to_end()


@both
@pytest.mark.parametrize("first", ["the time is over", "the task is cancelled"])
async def test_who_is_cancelled_at_the_same_time_ends(within: Within, first: str) -> None:
    """A task that somebody else wants to end must not go on because of a time limit."""
    waits = asyncio.Event()

    async def wait() -> None:
        waits.set()
        await for_ever()

    async def run() -> None:
        await within(0.0, wait())

    task = asyncio.create_task(run())
    await waits.wait()
    loop = asyncio.get_running_loop()
    cancel: Callable[[], object] = task.cancel
    if first == "the task is cancelled":
        cancel()
    else:
        # In the turn in which the time is over, and after that.
        loop.call_later(0.0, cancel)
    with pytest.raises((asyncio.CancelledError, TimeoutError)) as ended:
        await task
    assert ended.type is asyncio.CancelledError or expired == [True]
    if first == "the task is cancelled":
        assert ended.type is asyncio.CancelledError


async def test_both_at_once() -> None:
    """The limit has expired, and somebody cancels the task before it knows."""
    limits: list[time_limit] = []

    async def run() -> None:
        with time_limit(60.0) as limit:
            limits.append(limit)
            await for_ever()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    limits[0]._expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@both
async def test_who_does_not_care_goes_on(within: Within) -> None:
    """What swallows the cancellation has ended by itself; then it is over."""

    async def deaf() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "deaf"
        return ""

    assert await within(0.0, deaf()) == "deaf"
    assert nobody_wants_us_to_end()


def test_only_tasks_wait() -> None:
    loop = asyncio.new_event_loop()
    problems: list[str] = []

    def enter() -> None:
        try:
            time_limit(1.0).__enter__()
        except RuntimeError as error:
            problems.append(str(error))
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    loop.close()
    assert problems == ["only a task can be told to stop waiting"]
