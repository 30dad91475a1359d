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
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.errors import DnsError
from qpsmtpd.mail.session import ReverseLookup, ReverseNames
from qpsmtpd.plugin.services import DnsAnswer, Resolver

log = logging.getLogger(__name__)

#: Seconds for which a name, or the lack of one, is believed.
LIFETIME = 300.0
#: Seconds until the DNS is asked again if it did not answer.
RETRY = 5.0
#: Addresses remembered; the oldest lookup makes room.
CAPACITY = 10_000

_NOBODY_KNOWS = ReverseNames(certain=False)
_NO_NAME = ReverseNames()
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
        self._lookups: OrderedDict[str, _Lookup] = OrderedDict()

    def begin(self, ip: str, snapshot: Snapshot) -> ReverseLookup:
        """Begin the lookup unless it is known; returns the function that waits for it."""
        if not snapshot.settings.reverse_lookup:
            return _switched_off
        found = self._lookups.get(ip)
        if found is None or not found.holds(self._now()):
            found = self._look_up(ip, snapshot)
        return partial(found.wait, self._loop.time() + snapshot.settings.reverse_timeout)

    def forget(self) -> None:
        """The resolver may have changed: ask again."""
        self._lookups.clear()

    def _look_up(self, ip: str, snapshot: Snapshot) -> _Lookup:
        self._lookups.pop(ip, None)
        if len(self._lookups) >= CAPACITY:
            self._lookups.popitem(last=False)
        self._lookups[ip] = found = _Lookup(self._now())
        found.begin(ip, snapshot.services.resolver)
        return found


class _Lookup:
    """A lookup for all who wait for it, and when it began.

    Not a task: up to ten thousand are kept, and often nobody waits for one.
    """

    __slots__ = ("_began", "_outcome", "_waited_for")

    def __init__(self, began: float) -> None:
        self._began = began
        self._outcome: ReverseNames | BaseException | None = None
        # Made for the first who waits.
        self._waited_for: asyncio.Future[None] | None = None

    def begin(self, ip: str, resolver: Resolver) -> None:
        """Look up the names of an address."""
        resolver.tell_names(ip, partial(self._confirm, ip, resolver))

    def holds(self, now: float) -> bool:
        """Whether it need not be repeated."""
        outcome = self._outcome
        known = outcome is None or (isinstance(outcome, ReverseNames) and outcome.certain)
        return now < self._began + (LIFETIME if known else RETRY)

    async def wait(self, until: float) -> ReverseNames:
        """The names; nobody knows them if they come later than at this time of the loop.

        A fault is raised to all who wait: it must not pass for a client without a name.
        """
        if self._outcome is None:
            if self._waited_for is None:
                self._waited_for = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout_at(until):
                    await asyncio.wait((self._waited_for,))
            except TimeoutError:
                return _NOBODY_KNOWS
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome or _NOBODY_KNOWS

    def _confirm(self, ip: str, resolver: Resolver, found: DnsAnswer | BaseException) -> None:
        if isinstance(found, BaseException):
            self._fail(ip, None, found)
        elif names := list(filter(_is_host_name, found.records)):
            resolver.tell_confirmed(ip, names, partial(self._end, ip, names[0]))
        else:
            self._settle(_NO_NAME)

    def _end(self, ip: str, claimed: str, confirmed: DnsAnswer | BaseException) -> None:
        if isinstance(confirmed, BaseException):
            self._fail(ip, claimed, confirmed)
        else:
            self._settle(ReverseNames(next(iter(confirmed.records), None), claimed))

    def _fail(self, ip: str, claimed: str | None, error: BaseException) -> None:
        if isinstance(error, DnsError | asyncio.CancelledError):
            log.debug("no reverse lookup ip=%s error=%s", ip, error)
            self._settle(ReverseNames(None, claimed, certain=False))
        else:
            self._settle(error)

    def _settle(self, outcome: ReverseNames | BaseException) -> None:
        self._outcome = outcome
        if self._waited_for is not None:
            self._waited_for.set_result(None)
            self._waited_for = None
