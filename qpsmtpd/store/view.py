# SPDX-License-Identifier: MIT
"""StoreClient: the store as plugins see it (services.Store), whatever its back end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from qpsmtpd.errors import StoreError
from qpsmtpd.store.operation import (
    Add,
    Count,
    Delete,
    Get,
    Increment,
    Operation,
    Page,
    Put,
    Replace,
    Scan,
)

Ask = Callable[[Operation], Awaitable[Any]]

#: Between the parts of a name; names of plugins cannot contain it.
_SEPARATOR = "|"

#: How often `update` starts over because somebody else was faster.
_ATTEMPTS = 100


class StoreClient:
    """Implements services.Store: turns calls into operations.

    Names of entries are `value|SCOPE|KEY` and `count|SCOPE|KEY`, so that values and counters never
    get in each other's way.
    """

    def __init__(self, ask: Ask, scope: str = "") -> None:
        """`ask` carries out one operation; it raises StoreError."""
        self._ask = ask
        self._scope = scope

    def scoped(self, name: str) -> StoreClient:
        """A part of the store with names of its own."""
        if _SEPARATOR in name:
            raise ValueError(f"{name!r} must not contain {_SEPARATOR!r}")
        return StoreClient(self._ask, f"{self._scope}{name}{_SEPARATOR}")

    async def get(self, key: str) -> bytes | None:
        """The value, None when there is none."""
        value: bytes | None = await self._ask(Get(self._value(key)))
        return value

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write a value, whatever was there."""
        await self._ask(Put(self._value(key), value, ttl))

    async def add(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Write a value unless there is one; returns the one that was there."""
        there: bytes | None = await self._ask(Add(self._value(key), value, ttl))
        return there

    async def update(self, key: str, change: Callable[[bytes | None], bytes], ttl: float) -> bytes:
        """Change a value into another one, as if nobody else could change it meanwhile."""
        name = self._value(key)
        old = await self._ask(Get(name))
        for _ in range(_ATTEMPTS):
            new = change(old)
            if old is None:
                there = await self._ask(Add(name, new, ttl))
            else:
                there = await self._ask(Replace(name, old, new, ttl))
            if there == old:
                return new
            old = there
        raise StoreError(f"{key!r} changes too often")

    async def delete(self, key: str) -> None:
        """Forget a value."""
        await self._ask(Delete(self._value(key)))

    async def increment(self, key: str, by: int, ttl: float) -> int:
        """Add to a counter; returns the sum."""
        total: int = await self._ask(Increment(self._counter(key), by, ttl))
        return total

    async def count(self, key: str) -> int:
        """The sum of a counter, 0 when there is none."""
        total: int = await self._ask(Count(self._counter(key)))
        return total

    async def items(self, beginning: str = "") -> AsyncIterator[tuple[str, bytes]]:
        """The keys that begin in this way, and their values."""
        prefix = self._value("")
        cursor = b""
        while True:
            page: Page = await self._ask(Scan(self._value(beginning), cursor))
            for name, value in page.entries:
                yield name.removeprefix(prefix).decode("utf-8", "surrogatepass"), value
            if not page.cursor:
                return
            cursor = page.cursor

    def _value(self, key: str) -> bytes:
        return self._name("value", key)

    def _counter(self, key: str) -> bytes:
        return self._name("count", key)

    def _name(self, kind: str, key: str) -> bytes:
        # What clients send may not be UTF-8; the strings then have surrogates in them.
        text = f"{kind}{_SEPARATOR}{self._scope}{key}"
        return text.encode("utf-8", "surrogatepass")
