# SPDX-License-Identifier: MIT
"""Kept: a value that costs something to find, and is good for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from qpsmtpd.plugin.services import Clock

T = TypeVar("T")


class Kept(Generic[T]):
    """Finds a value when somebody asks, and then not again for some seconds."""

    def __init__(self, find: Callable[[], Awaitable[T]], seconds: float, clock: Clock) -> None:
        self._find = find
        self._seconds = seconds
        self._clock = clock
        self._finding = asyncio.Lock()
        self._value: tuple[T] | None = None
        self._until = 0.0

    async def value(self) -> T:
        """The value; several who ask at once wait for the same one."""
        async with self._finding:
            if self._value is None or self._clock.monotonic() >= self._until:
                self._value = (await self._find(),)
                self._until = self._clock.monotonic() + self._seconds
            return self._value[0]
