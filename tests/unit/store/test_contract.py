# SPDX-License-Identifier: MIT
"""What services.Store promises, of the fake, of SQLite and of a real Redis; on both loops."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Store
from qpsmtpd.store.operation import Operation, Put, Replace
from tests.unit.client import on_both_loops
from tests.unit.store import stores
from tests.unit.store.stores import Subject

LONG = 3600.0

Test = Callable[[Subject], Coroutine[Any, Any, None]]


#: The tests; tests/integration/test_store_cluster.py runs them with a Cluster.
CONTRACT: list[Test] = []


def of_every_kind(test: Test) -> Callable[..., Any]:
    """Run a test with a store of each kind."""
    CONTRACT.append(test)

    async def run(kind: str, tmp_path: Path) -> None:
        async with getattr(stores, kind)(tmp_path) as subject:
            await test(subject)

    run.__name__ = test.__name__
    kinds = ["fake", "sqlite", "redis"]
    parametrized: Callable[..., Any] = pytest.mark.parametrize("kind", kinds)(on_both_loops(run))
    return parametrized


@of_every_kind
async def test_a_value_is_what_was_written(subject: Subject) -> None:
    store = subject.store
    assert await store.get("a") is None
    for value in (b"1", b"", b"\0\r\n\xff", b"x" * 100_000):
        await store.put("a", value, LONG)
        assert await store.get("a") == value
    assert await store.get("b") is None


@of_every_kind
async def test_a_key_is_any_text(subject: Subject) -> None:
    keys = [
        "",
        "a",
        "A",
        "a b",
        "a|b",
        "\0",
        "\r\n$3",
        "\xe4",
        "a\u0308",
        "\udcff",
        "x" * 5000,
        "*",
    ]
    for number, key in enumerate(keys):
        await subject.store.put(key, b"%d" % number, LONG)
    values = [await subject.store.get(key) for key in keys]
    assert values == [b"%d" % number for number in range(len(keys))]


@of_every_kind
async def test_delete(subject: Subject) -> None:
    await subject.store.put("a", b"1", LONG)
    await subject.store.put("b", b"2", LONG)
    await subject.store.delete("a")
    await subject.store.delete("a")
    assert await subject.store.get("a") is None
    assert await subject.store.get("b") == b"2"


@of_every_kind
async def test_add_keeps_what_is_there(subject: Subject) -> None:
    assert await subject.store.add("a", b"1", LONG) is None
    assert await subject.store.add("a", b"2", LONG) == b"1"
    assert await subject.store.get("a") == b"1"


@of_every_kind
async def test_values_end(subject: Subject) -> None:
    store = subject.store
    await store.put("put", b"1", subject.short)
    await store.add("add", b"1", subject.short)
    await store.update("update", lambda _: b"1", subject.short)
    await store.put("longer", b"1", LONG)
    for key in ("put", "add", "update"):
        await subject.until(_is(partial(store.get, key), None))
    assert await store.add("put", b"2", LONG) is None
    assert await store.update("add", lambda old: b"none" if old is None else old, LONG) == b"none"
    assert await store.get("longer") == b"1"


@of_every_kind
async def test_put_and_update_set_a_new_end(subject: Subject) -> None:
    store = subject.store
    for key in ("put", "update"):
        await store.put(key, b"1", subject.short)
    await store.put("put", b"2", LONG)
    await store.update("update", lambda _: b"2", LONG)
    # In one batch, or the first value may have come to its end before.
    await asyncio.gather(store.put("add", b"1", subject.short), store.add("add", b"2", LONG))
    await subject.until(_is(lambda: store.get("add"), None))
    assert [await store.get(key) for key in ("put", "update")] == [b"2", b"2"]


@of_every_kind
async def test_a_counter_counts(subject: Subject) -> None:
    store = subject.store
    assert await store.count("a") == 0
    assert [await store.increment("a", by, LONG) for by in (1, 1, 10, -2, 0)] == [1, 2, 12, 10, 10]
    assert await store.count("a") == 10
    assert await store.increment("b", 5, LONG) == 5


@of_every_kind
async def test_the_first_increment_sets_the_end(subject: Subject) -> None:
    store = subject.store
    # In one batch, or the first one may have come to its end before.
    await asyncio.gather(store.increment("a", 7, subject.short), store.increment("a", 7, LONG))
    await subject.until(_is(lambda: store.count("a"), 0))
    assert await store.increment("a", 1, LONG) == 1


YEARS = 73 * 365 * 86400.0


@of_every_kind
async def test_a_clock_that_was_ahead_and_is_set_right(subject: Subject) -> None:
    """What was written before neither is gone nor stays for decades, even if it is only read."""
    store = subject.store
    await asyncio.gather(
        store.put("read", b"1", subject.short),
        store.add("lease", b"1", subject.short),
        store.put("updated", b"1", subject.short),
        store.increment("counted", 1, subject.short),
        store.increment("read", 1, subject.short),
    )
    subject.set_clock(-YEARS)
    values = await asyncio.gather(
        store.get("read"), store.add("lease", b"2", subject.short), store.get("updated")
    )
    assert set(values) == {b"1"}
    assert await store.increment("counted", 1, subject.short) == 2
    assert await store.count("read") == 1
    await subject.until(_is(lambda: store.get("read"), None))
    await subject.until(_is(lambda: store.count("read"), 0))
    await subject.until(_is(lambda: store.add("lease", b"2", LONG), None))
    await subject.until(_is(lambda: store.count("counted"), 0))
    await subject.until(_is(lambda: store.update("updated", lambda old: old or b"2", LONG), b"2"))


@pytest.mark.parametrize("kind", ["fake", "sqlite"])
async def test_a_clock_that_was_behind_and_is_set_right(kind: str, tmp_path: Path) -> None:
    """Nothing is gone.  (Redis: what it has forgotten by its own clock, nobody can know.)"""
    async with getattr(stores, kind)(tmp_path) as subject:
        store = subject.store
        await store.put("a", b"1", LONG)
        await store.increment("a", 1, LONG)
        subject.set_clock(YEARS)
        assert [await store.get("a"), await store.count("a")] == [b"1", 1]
        assert await store.add("a", b"2", LONG) == b"1"
        await subject.until(_is(lambda: store.get("a"), None))


@of_every_kind
async def test_counters_and_values_are_apart(subject: Subject) -> None:
    await subject.store.put("a", b"text", LONG)
    assert await subject.store.increment("a", 1, LONG) == 1
    await subject.store.delete("a")
    assert await subject.store.get("a") is None
    assert await subject.store.count("a") == 1


@of_every_kind
async def test_scopes_are_apart(subject: Subject) -> None:
    scopes = [subject.store, subject.store.scoped("a"), subject.store.scoped("a:1")]
    scopes += [scopes[1].scoped("b"), subject.store.scoped("b")]
    for number, scope in enumerate(scopes):
        await scope.put("1:b", b"%d" % number, LONG)
        assert await scope.increment("1:b", 1, LONG) == 1
    assert [await scope.get("1:b") for scope in scopes] == [b"0", b"1", b"2", b"3", b"4"]
    assert await subject.store.scoped("a").get("1:b") == b"1"
    with pytest.raises(ValueError, match="must not contain"):
        subject.store.scoped("a|b")


@of_every_kind
async def test_many_at_once_are_one_after_another(subject: Subject) -> None:
    calls = [subject.store.increment("a", 1, LONG) for _ in range(1200)]
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 1201))
    added = await asyncio.gather(*(subject.store.add("b", b"%d" % n, LONG) for n in range(50)))
    assert added.count(None) == 1
    assert len(set(added)) == 2


@of_every_kind
async def test_updates_lose_nothing(subject: Subject) -> None:
    def one_more(old: bytes | None) -> bytes:
        return b"%d" % (int(old or 0) + 1)

    async def several() -> None:
        for _ in range(20):
            await subject.store.update("a", one_more, LONG)

    await asyncio.gather(*(several() for _ in range(5)))
    assert await subject.store.get("a") == b"100"


@of_every_kind
async def test_who_comes_too_late_changes_nothing(subject: Subject) -> None:
    client: Any = subject.store
    await client.put("a", b"1", LONG)
    assert await client._ask(Replace(b"value|a", b"0", b"2", LONG)) == b"1"
    assert await client.get("a") == b"1"
    assert await client._ask(Replace(b"value|b", b"0", b"2", LONG)) is None
    assert await client.get("b") is None
    assert await client._ask(Replace(b"value|a", b"1", b"2", LONG)) == b"1"
    assert await client.get("a") == b"2"


@of_every_kind
async def test_an_update_that_never_succeeds_ends(subject: Subject) -> None:
    """The value has another face each time that it is looked at."""
    numbers = itertools.count()
    client: Any = subject.store
    ask = client._ask

    async def spoil_and_ask(operation: Operation) -> Any:
        await ask(Put(operation.name, b"%d" % next(numbers), LONG))
        return await ask(operation)

    client._ask = spoil_and_ask
    with pytest.raises(StoreError, match="'a' changes too often"):
        await client.update("a", lambda _: b"x", LONG)


def _is(ask: Callable[[], Awaitable[Any]], wanted: Any) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return bool(await ask() == wanted)

    return condition


# --- listing ----------------------------------------------------------------------------------


async def _items(store: Store, beginning: str = "") -> dict[str, bytes]:
    return {key: value async for key, value in store.items(beginning)}


@of_every_kind
async def test_the_values_that_begin_in_some_way_can_be_listed(subject: Subject) -> None:
    store = subject.store.scoped("a*[b")
    keys = ["ip/1", "ip/2", "ip/\xe4?", "ip/", "ip", "other/1", "IP/1", "ip/\udc80"]
    for key in keys:
        await store.put(key, key.encode("utf-8", "surrogatepass"), LONG)
    await store.increment("ip/1", 1, LONG)
    await subject.store.scoped("axxb").put("ip/9", b"", LONG)
    wanted = {key: key.encode("utf-8", "surrogatepass") for key in keys}
    assert await _items(store) == wanted
    assert await _items(store, "ip/") == {k: v for k, v in wanted.items() if k.startswith("ip/")}
    assert await _items(store, "none") == {}
    await store.delete("ip/1")
    await store.put("short", b"", subject.short)
    await subject.until(partial(_is_gone, store, "short"))
    assert (await _items(store)).keys() == {*keys} - {"ip/1"}


async def _is_gone(store: Store, key: str) -> bool:
    return await store.get(key) is None


@of_every_kind
async def test_a_long_list_comes_page_by_page(subject: Subject) -> None:
    store = subject.store.scoped("many")
    keys = [f"key{number}" for number in range(1234)]
    await asyncio.gather(*(store.put(key, b"v", LONG) for key in keys))
    assert (await _items(store)).keys() == set(keys)
