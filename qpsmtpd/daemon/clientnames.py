# SPDX-License-Identifier: MIT
"""ClientNames: reverse look-ups of clients, begun at connect and awaited when the name is needed.

Clients come back and come in numbers, so one look-up serves all connections of an address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.errors import DnsError
from qpsmtpd.mail.session import ReverseLookup

log = logging.getLogger(__name__)

#: Seconds that a name, or that there is none, is believed.
LIFETIME = 300.0
#: Addresses remembered; the oldest look-up makes room.
CAPACITY = 10_000


async def _nobody() -> str | None:
    return None


class ClientNames:
    """A bounded cache of look-ups, running and finished."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, now: Callable[[], float] | None = None
    ) -> None:
        self._loop = loop
        self._now = now or loop.time
        self._lookups: dict[str, tuple[float, asyncio.Task[str | None]]] = {}

    def begin(self, ip: str, snapshot: Snapshot) -> ReverseLookup:
        """Begin the look-up unless it is known; returns what waits for it."""
        if not snapshot.settings.reverse_lookup:
            return _nobody
        found = self._lookups.get(ip)
        until = self._loop.time() + snapshot.settings.reverse_timeout
        if found is not None and found[0] > self._now():
            return _Waiting(found[1], until)
        self._lookups.pop(ip, None)
        if len(self._lookups) >= CAPACITY:
            del self._lookups[next(iter(self._lookups))]
        task = self._loop.create_task(_look_up(ip, snapshot))
        self._lookups[ip] = (self._now() + LIFETIME, task)
        return _Waiting(task, until)

    def forget(self) -> None:
        """The resolver may have changed: ask again."""
        self._lookups.clear()


class _Waiting:
    """Waits for a look-up that others may wait for as well; `until` is in the loop's time."""

    __slots__ = ("_task", "_until")

    def __init__(self, task: asyncio.Task[str | None], until: float) -> None:
        self._task = task
        self._until = until

    async def __call__(self) -> str | None:
        if self._task.done():
            return None if self._task.cancelled() else self._task.result()
        try:
            async with asyncio.timeout_at(self._until):
                return await asyncio.shield(self._task)
        except TimeoutError:
            return None


async def _look_up(ip: str, snapshot: Snapshot) -> str | None:
    try:
        names = await snapshot.services.resolver.ptr(ip)
    except DnsError as error:
        log.debug("no reverse look-up ip=%s error=%s", ip, error)
        return None
    return names[0].rstrip(".") if names else None
