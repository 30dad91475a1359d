# SPDX-License-Identifier: MIT
"""AggregateCounts: what DMARC aggregate reports are made of, counted in the store.

For each day (in UTC) there is an index of domains, and for each of these its policy, an index of
its rows, and a counter for each row.  So a message is one increment, if its process has met the row
before, and all workers and machines add to the same counters.  An index is written before what it
lists: a process that dies in between leaves a row without messages.

Anybody can send messages that make new rows, so everything is limited, and gone after KEPT seconds.
What does not fit is not counted; a line in the log says so once a day.

A report is sent by whoever has claimed it.  That it was sent is written down for each destination;
a claim ends by itself, so a process that dies leaves the report to the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict

from qpsmtpd.mailauth.aggregate import Published, Row, day_of
from qpsmtpd.plugin.services import Clock, Store

log = logging.getLogger(__name__)

DAY = 86_400.0
#: Seconds that everything is kept.
KEPT = 8 * DAY
#: The most domains of one day, rows of one domain, and rows of one day.
MAX_DOMAINS = 4096
MAX_ROWS = 1024
MAX_ALL_ROWS = 50_000
#: Parts of an index, so that adding to a long one does not write all of it again.
PARTS = 16
#: Rows that a process remembers to have written.
MAX_KNOWN = 20_000
#: Seconds that a claim lasts: far more than sending one report takes.
LEASE = 3600.0


class AggregateCounts:
    """Counts messages, and knows which reports were sent.  Methods raise StoreError."""

    def __init__(self, store: Store, clock: Clock) -> None:
        # No plugin can have a name with a space.
        self._store = store.scoped("dmarc reports")
        self._clock = clock
        #: Rows that this process has written, or found no room for; the oldest first.
        self._known: OrderedDict[str, bool] = OrderedDict()
        self._full_on = ""

    # --- counting -----------------------------------------------------------------------------

    async def count(self, published: Published, row: Row) -> bool:
        """Count a message; False if there is no room for its row."""
        day = day_of(self._clock.now())
        key = _row_key(day, published.domain, row.to_json())
        if key not in self._known:
            self._remember(key, await self._enter(day, published, row))
        if not self._known[key]:
            self._tell_full(day)
            return False
        await self._store.increment(key, 1, KEPT)
        return True

    def _remember(self, key: str, has_room: bool) -> None:
        self._known[key] = has_room
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def _enter(self, day: str, published: Published, row: Row) -> bool:
        """Whether a row is in the indexes now: it was there, or there was room."""
        domain = published.domain
        if not any(await self._add(f"domains|{day}", domain, MAX_DOMAINS)):
            return False
        await self._store.put(f"policy|{day}|{domain}", published.to_json().encode(), KEPT)
        is_full = await self._store.count(f"all|{day}") >= MAX_ALL_ROWS
        most = 0 if is_full else MAX_ROWS
        was_there, is_new = await self._add(f"rows|{day}|{domain}", row.to_json(), most)
        if is_new:
            await self._store.increment(f"all|{day}", 1, KEPT)
        return was_there or is_new

    async def _add(self, index: str, item: str, most: int) -> tuple[bool, bool]:
        """Add an item to an index: whether it was there before, and whether it was added."""
        line = json.dumps(item).encode()
        was_there = is_new = False

        def change(old: bytes | None) -> bytes:
            # Called again if somebody else was faster: what counts is the last time.
            nonlocal was_there, is_new
            lines = old.split(b"\n") if old else []
            was_there = line in lines
            is_new = not was_there and len(lines) < most // PARTS
            return b"\n".join([*lines, line] if is_new else lines)

        part = int(_digest(item), 16) % PARTS
        await self._store.update(f"{index}|{part}", change, KEPT)
        return was_there, is_new

    def _tell_full(self, day: str) -> None:
        if self._full_on != day:
            self._full_on = day
            log.warning("dmarc reports: too many kinds of messages today; some are not counted")

    # --- reading ------------------------------------------------------------------------------

    async def domains(self, day: str) -> list[str]:
        """The domains about which there is something to report, in alphabetical order."""
        return sorted(await self._items(f"domains|{day}"))

    async def published(self, day: str, domain: str) -> Published | None:
        """The policy of a domain, as it was found last on that day."""
        text = await self._store.get(f"policy|{day}|{domain}")
        return None if text is None else Published.from_json(text.decode())

    async def rows(self, day: str, domain: str) -> list[tuple[Row, int]]:
        """The rows of a domain and how many messages each stands for, always in the same order."""
        found = []
        for text in sorted(await self._items(f"rows|{day}|{domain}")):
            count = await self._store.count(_row_key(day, domain, text))
            if count > 0:
                found.append((Row.from_json(text), count))
        return found

    async def _items(self, index: str) -> list[str]:
        parts = [await self._store.get(f"{index}|{part}") for part in range(PARTS)]
        return [str(json.loads(line)) for part in parts if part for line in part.split(b"\n")]

    # --- sending ------------------------------------------------------------------------------

    async def claim(self, day: str, domain: str) -> bool:
        """Whether this process may send a report now; if so, nobody else may before `release`."""
        return await self._store.add(f"claim|{day}|{domain}", b"1", LEASE) is None

    async def release(self, day: str, domain: str) -> None:
        """Give up a claim."""
        await self._store.delete(f"claim|{day}|{domain}")

    async def is_sent(self, day: str, domain: str, address: str) -> bool:
        """Whether a report was sent to an address."""
        return await self._store.get(f"sent|{day}|{domain}|{address}") is not None

    async def mark_sent(self, day: str, domain: str, address: str) -> None:
        """A report was sent to an address."""
        await self._store.put(f"sent|{day}|{domain}|{address}", b"1", KEPT)

    async def outcome(self, day: str, domain: str) -> str:
        """How the report ended, in words of `finish`; "" while there is something to do."""
        return (await self._store.get(f"done|{day}|{domain}") or b"").decode()

    async def finish(self, day: str, domain: str, outcome: str) -> None:
        """There is nothing to do any more about a report."""
        await self._store.put(f"done|{day}|{domain}", outcome.encode(), KEPT)


def _row_key(day: str, domain: str, text: str) -> str:
    return f"row|{day}|{domain}|{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
