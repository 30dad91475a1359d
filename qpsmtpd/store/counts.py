# SPDX-License-Identifier: MIT
"""SharedCounts: how often something has happened lately, for all who share the store.

Each process counts for itself as well, so that the count goes on while the store is down.
"""

from __future__ import annotations

from collections import OrderedDict

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Clock, Store

#: Keys that a process counts by itself; then the one that began first is forgotten.
MOST_KEYS = 10_000


class SharedCounts:
    """Counts events by key; the count of a key begins anew `window` seconds after its first."""

    def __init__(self, store: Store, clock: Clock, window: float) -> None:
        self._store = store
        self._clock = clock
        self._window = window
        #: By key, in order of their ends: when the window ends, and the count.
        self._here: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def add(self, key: str) -> int:
        """Count an event; returns the number of events in the window, with this one."""
        return await self._change(key, 1)

    async def take_back(self, key: str) -> None:
        """Uncount an event that `add` has counted."""
        await self._change(key, -1)

    async def _change(self, key: str, by: int) -> int:
        here = self._change_here(key, by)
        try:
            return max(here, await self._store.increment(key, by, self._window))
        except StoreError:
            return here

    def _change_here(self, key: str, by: int) -> int:
        now = self._clock.monotonic()
        end, count = self._here.get(key, (0.0, 0))
        if now >= end:
            self._here.pop(key, None)
            end, count = now + self._window, 0
            if len(self._here) >= MOST_KEYS:
                self._here.popitem(last=False)
        self._here[key] = end, max(count + by, 0)
        return self._here[key][1]
