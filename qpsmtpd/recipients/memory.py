# SPDX-License-Identifier: MIT
"""RecipientMemory: which recipients exist and which do not, for as long as that is believed.

It is in the store, for all workers, and has bounds: strangers choose what is asked about.  A worker
knows those that exist for a minute more by itself, also while the store is down.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Clock, Store
from qpsmtpd.plugin.verification import KNOWN, Verification, unknown

#: Entries of each kind that are remembered within the time that they last.
MOST_ENTRIES = 100_000

#: Recipients that exist of which each worker knows without the store, and for how many seconds: a
#: look into the store costs more than all else that RCPT does.
MOST_RECENT = 10_000
RECENT = 60.0

#: What is remembered of a recipient that exists; of one that does not, it is the status.
_EXISTS = b"known"


class RecipientMemory:
    """Remembers answers that are clear; a store that is down remembers nothing."""

    def __init__(self, store: Store, clock: Clock, *, positive: float, negative: float) -> None:
        """positive, negative: seconds for those that exist, and for the others; 0 is not at all."""
        self._store = store
        self._clock = clock
        self._positive = positive
        self._negative = negative
        # The oldest first: key → until when, by the monotonic clock.
        self._recent: OrderedDict[str, float] = OrderedDict()

    async def recall(self, key: str) -> Verification | None:
        """What is known about a recipient; None if nothing is."""
        if self._recent.get(key, 0.0) > self._clock.monotonic():
            return KNOWN
        try:
            value = await self._store.get(f"is/{key}")
        except StoreError:
            return None
        if value is None:
            return None
        if value == _EXISTS:
            self._keep_recent(key)
            return KNOWN
        return unknown(value.decode("ascii", "replace"), "known")

    async def remember(self, key: str, verification: Verification) -> None:
        """Write down a clear answer, unless there are too many of its kind."""
        if verification.answer not in ("known", "unknown"):
            return
        exists = verification.answer == "known"
        lasts = self._positive if exists else self._negative
        if not lasts:
            return
        value = _EXISTS if exists else verification.status.encode()
        if exists:
            self._keep_recent(key)
        with contextlib.suppress(StoreError):
            number = await self._store.increment(f"number/{verification.answer}", 1, lasts)
            if number <= MOST_ENTRIES:
                await self._store.put(f"is/{key}", value, lasts)

    def _keep_recent(self, key: str) -> None:
        self._recent.pop(key, None)
        self._recent[key] = self._clock.monotonic() + min(RECENT, self._positive)
        if len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)
