# SPDX-License-Identifier: MIT
"""ClientNames: reverse lookups of clients, begun at connect and awaited when the name is needed.

The owner of an address may give it any name.  So a name counts only if it has that address itself;
one that is not a host name (RFC 1123 section 2.1) is ignored.  Clients come back and come in
numbers, so one lookup serves all connections of an address.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.errors import DnsError
from qpsmtpd.mail.session import ReverseLookup, ReverseNames

log = logging.getLogger(__name__)

#: Seconds for which a name, or the lack of one, is believed.
LIFETIME = 300.0
#: Seconds until the DNS is asked again if it did not answer.
RETRY = 5.0
#: Addresses remembered; the oldest lookup makes room.
CAPACITY = 10_000

_NOBODY_KNOWS = ReverseNames(certain=False)
#: With the underscore, which is not allowed but is in use.
_is_host_name = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*").fullmatch


async def _switched_off() -> ReverseNames:
    return ReverseNames(asked=False)


class ClientNames:
    """A bounded cache of lookups, running and finished."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, now: Callable[[], float] | None = None
    ) -> None:
        self._loop = loop
        self._now = now or loop.time
        self._lookups: dict[str, _Lookup] = {}

    def begin(self, ip: str, snapshot: Snapshot) -> ReverseLookup:
        """Begin the lookup unless it is known; returns the function that waits for it."""
        if not snapshot.settings.reverse_lookup:
            return _switched_off
        until = self._loop.time() + snapshot.settings.reverse_timeout
        found = self._lookups.get(ip)
        if found is None or not found.holds(self._now()):
            found = self._look_up(ip, snapshot)
        return _Waiting(found.task, until)

    def forget(self) -> None:
        """The resolver may have changed: ask again."""
        self._lookups.clear()

    def _look_up(self, ip: str, snapshot: Snapshot) -> _Lookup:
        self._lookups.pop(ip, None)
        if len(self._lookups) >= CAPACITY:
            del self._lookups[next(iter(self._lookups))]
        task = self._loop.create_task(_names_of(ip, snapshot))
        self._lookups[ip] = found = _Lookup(task, self._now())
        return found


class _Lookup:
    """A lookup, and when it began."""

    __slots__ = ("_began", "task")

    def __init__(self, task: asyncio.Task[ReverseNames], began: float) -> None:
        self.task = task
        self._began = began

    def holds(self, now: float) -> bool:
        """Whether it need not be repeated."""
        known = not self.task.done() or _result(self.task).certain
        return now < self._began + (LIFETIME if known else RETRY)


class _Waiting:
    """Waits for a lookup that others may wait for as well; `until` is in the loop's time."""

    __slots__ = ("_task", "_until")

    def __init__(self, task: asyncio.Task[ReverseNames], until: float) -> None:
        self._task = task
        self._until = until

    async def __call__(self) -> ReverseNames:
        if not self._task.done():
            try:
                async with asyncio.timeout_at(self._until):
                    await asyncio.shield(self._task)
            except TimeoutError:
                return _NOBODY_KNOWS
        return _result(self._task)


def _result(task: asyncio.Task[ReverseNames]) -> ReverseNames:
    return _NOBODY_KNOWS if task.cancelled() else task.result()


async def _names_of(ip: str, snapshot: Snapshot) -> ReverseNames:
    resolver = snapshot.services.resolver
    names: list[str] = []
    try:
        names = list(filter(_is_host_name, await resolver.ptr(ip)))
        confirmed = await resolver.confirmed(ip, names)
    except DnsError as error:
        log.debug("no reverse lookup ip=%s error=%s", ip, error)
        return ReverseNames(None, next(iter(names), None), certain=False)
    return ReverseNames(next(iter(confirmed), None), next(iter(names), None))
