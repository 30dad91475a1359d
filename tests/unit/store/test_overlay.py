# SPDX-License-Identifier: MIT
import asyncio

from qpsmtpd.store.overlay import Overlay, new_layer
from qpsmtpd.testing import FakeClock, FakeStore


async def filled() -> FakeStore:
    store = FakeStore(FakeClock())
    for key in ("a", "b"):
        await store.put(key, b"below", 60)
    await store.increment("n", 5, 60)
    return store


async def test_it_reads_through_and_writes_nothing() -> None:
    store = await filled()
    overlay = Overlay(store._ask, FakeClock())
    await overlay.put("a", b"above", 60)
    await overlay.delete("b")
    assert await overlay.increment("n", 1, 60) == 6
    assert await overlay.add("c", b"new", 60) is None
    assert await overlay.add("c", b"newer", 60) == b"new"
    assert await overlay.update("a", lambda old: (old or b"") + b"!", 60) == b"above!"
    assert (await overlay.get("a"), await overlay.get("b")) == (b"above!", None)
    assert await overlay.count("n") == 6
    assert dict([item async for item in overlay.items()]) == {"a": b"above!", "c": b"new"}
    assert dict([item async for item in store.items()]) == {"a": b"below", "b": b"below"}
    assert await store.count("n") == 5


async def test_what_is_written_ends() -> None:
    clock = FakeClock()
    overlay = Overlay(None, clock)
    await overlay.put("a", b"1", 10)
    await overlay.increment("n", 1, 10)
    clock.advance(5)
    await overlay.increment("n", 1, 10)
    assert await overlay.count("n") == 2
    clock.advance(5)
    assert (await overlay.get("a"), await overlay.count("n")) == (None, 0)
    assert await overlay.increment("n", 1, 10) == 1


async def test_each_layer_is_alone() -> None:
    overlay = Overlay(None, FakeClock())
    await overlay.put("a", b"all", 60)

    async def alone(value: bytes) -> bytes | None:
        new_layer()
        assert await overlay.get("a") is None
        await overlay.put("a", value, 60)
        # A task that it begins sees what it has written.
        return await asyncio.create_task(overlay.get("a"))

    values = [b"1", b"2"]
    assert await asyncio.gather(*(asyncio.create_task(alone(value)) for value in values)) == values
    assert await overlay.get("a") == b"all"
