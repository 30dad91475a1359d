# SPDX-License-Identifier: MIT
"""Admission: who is let in, and who is told at once to come back later.

The limits apply to the whole daemon: what the other workers have open is on the scoreboard.  Two
workers that decide in the same instant may each let one in, so for a moment a limit can be exceeded
by as many connections as there are other workers.

An admitted connection costs a few lookups, and memory until it ends; a refused one leaves nothing
but a number in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.daemon import descriptors
from qpsmtpd.daemon.scoreboard import Slot
from qpsmtpd.lists.hosts import HostList
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.metrics.catalogue import CONNECTIONS_REFUSED
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp.replies import (
    TOO_MANY_CONNECTIONS,
    TOO_MANY_FROM_CLIENT,
    TOO_MANY_FROM_NETWORK,
)
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Seconds for which refusals of one kind are counted instead of logged one by one.
LOG_INTERVAL = 10.0


class Refusal(Enum):
    """Why a connection is not admitted: what the log says."""

    FULL = "too many connections"
    FULL_HERE = "too many connections for the limit of open files"
    FROM_CLIENT = "too many connections from one client"
    FROM_NETWORK = "too many connections from one network"

    @property
    def reply(self) -> Reply:
        """What the client is told."""
        return _REPLIES.get(self, TOO_MANY_CONNECTIONS)


_REPLIES = {
    Refusal.FROM_CLIENT: TOO_MANY_FROM_CLIENT,
    Refusal.FROM_NETWORK: TOO_MANY_FROM_NETWORK,
}


# Frozen, it would take three times as long to make one.
@dataclass(slots=True)
class Place:
    """What an admitted connection counts as, and how many its client has, including this one.

    Nobody changes it.
    """

    names: tuple[str, ...]
    from_client: int = 1


#: The place of a client whose place somebody else has.
GIVEN_AWAY = Place(())
#: The place of a client that is exempt, or not known yet.
UNNAMED = Place(())


@dataclass(frozen=True)
class Limits:
    """How many connections may be open; 0 means unlimited.

    here: in this worker, which has descriptors for no more.
    prefixes: lengths of the network prefixes, by IP version.
    exempt: lists of the clients to which the limits per client and network do not apply.
    """

    total: int
    here: int
    from_client: int
    from_network: int
    prefixes: dict[int, int]
    exempt: tuple[HostList, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Limits:
        """The limits that a configuration sets."""
        settings = snapshot.settings
        beyond = (chained.plugin.beyond_max_from_ip for chained in snapshot.chain.plugins)
        own_clients = (chained.plugin.own_clients for chained in snapshot.chain.plugins)
        return cls(
            total=settings.max_connections,
            here=descriptors.connections_for(descriptors.open_files()),
            from_client=settings.max_from_ip and settings.max_from_ip + max(beyond, default=0),
            from_network=settings.max_from_network,
            prefixes={4: settings.network_prefix_ipv4, 6: settings.network_prefix_ipv6},
            exempt=(settings.exempt, *filter(None, own_clients)),
        )

    def spares(self, ip: str) -> bool:
        """Whether the limits per client and network do not apply to this client."""
        address = parse_ip(ip)
        return any(address in hosts for hosts in self.exempt)

    def network(self, ip: str) -> str:
        """A name for the network of a client, distinct from that of any client."""
        address = parse_ip(ip)
        length = self.prefixes[address.version]
        return f"{address.version}/{int(address) >> address.max_prefixlen - length:x}"


class Admission:
    """The connections of one worker, and what it knows about those of the others."""

    def __init__(
        self,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        slot: Slot | None = None,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """`make_room`: has somebody leave who should go first, if there is one."""
        self.limits = limits
        self._make_room = make_room
        self.connections = 0
        self._slot = slot
        self._log = RefusalLog(loop)
        self._open: dict[str, int] = {}

    def enter(self, ip: str) -> Place | Refusal:
        """Admit a connection of this client, or refuse it; `leave` must follow an admission."""
        if refusal := self._no_room(ip):
            return refusal
        limits = self.limits
        count = self._count(ip)
        # The first connection of a client is within any limit of its own: most need no look-up.
        if (count or limits.from_network) and limits.spares(ip):
            return self._take(UNNAMED)
        if limits.from_client and count >= limits.from_client:
            return self._refuse(Refusal.FROM_CLIENT, limits.from_client, ip)
        if not limits.from_network:
            return self._take(Place((ip,), count + 1))
        network = limits.network(ip)
        if self._count(network) >= limits.from_network:
            return self._refuse(Refusal.FROM_NETWORK, limits.from_network, ip)
        return self._take(Place((ip, network), count + 1))

    def enter_unnamed(self, ip: str) -> Place | Refusal:
        """Admit a connection from `ip`, a proxy, whose client is not known yet."""
        return self._no_room(ip) or self._take(UNNAMED)

    def exchange(self, place: Place, ip: str) -> Place | Refusal:
        """The place is that of another client from now on; if it is refused, all stays as it is."""
        self.leave(place)
        found = self.enter(ip)
        if isinstance(found, Refusal):
            self._take(place)
        return found

    def leave(self, place: Place) -> None:
        """The connection is over."""
        self.connections -= 1
        for name in place.names:
            left = self._open[name] - 1
            if left:
                self._open[name] = left
            else:
                del self._open[name]
        if self._slot is not None:
            self._publish(self._slot, place, -1)

    def _no_room(self, ip: str) -> Refusal | None:
        limits = self.limits
        if self.connections >= limits.here and not self._make_room():
            return self._refuse(Refusal.FULL_HERE, limits.here, ip)
        if limits.total and self._all >= limits.total and not self._make_room():
            return self._refuse(Refusal.FULL, limits.total, ip)
        return None

    @property
    def _all(self) -> int:
        """The connections of all workers."""
        others = self._slot.connections_of_others if self._slot is not None else 0
        return self.connections + others

    @property
    def part(self) -> float:
        """The part of all possible connections that is open, here or in the whole daemon."""
        limits = self.limits
        everywhere = self._all / limits.total if limits.total else 0.0
        return max(self.part_here, everywhere)

    @property
    def part_here(self) -> float:
        """The part of the connections for which this worker has descriptors."""
        return self.connections / self.limits.here

    def _count(self, name: str) -> int:
        others = self._slot.count_of_others(name) if self._slot is not None else 0
        return self._open.get(name, 0) + others

    def _take(self, place: Place) -> Place:
        self.connections += 1
        for name in place.names:
            self._open[name] = self._open.get(name, 0) + 1
        if self._slot is not None:
            self._publish(self._slot, place, 1)
        return place

    def _publish(self, slot: Slot, place: Place, number: int) -> None:
        slot.say_connections(self.connections)
        for name in place.names:
            slot.add(name, number)

    def _refuse(self, refusal: Refusal, limit: int, ip: str) -> Refusal:
        self._log.note(refusal, limit, ip)
        FIGURES.count(CONNECTIONS_REFUSED, refusal.name.lower())
        return refusal


class RefusalLog:
    """Logs the first refusal of a kind at once, and then how many more an interval had."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._more: dict[Refusal, int] = {}
        self._last = ""

    def note(self, refusal: Refusal, limit: int, ip: str) -> None:
        """A client was refused."""
        self._last = ip
        if refusal in self._more:
            self._more[refusal] += 1
            return
        log.warning("%s limit=%d ip=%s", refusal.value, limit, ip)
        self._begin_interval(refusal, limit)

    def _begin_interval(self, refusal: Refusal, limit: int) -> None:
        self._more[refusal] = 0
        self._loop.call_later(LOG_INTERVAL, self._end_interval, refusal, limit)

    def _end_interval(self, refusal: Refusal, limit: int) -> None:
        if more := self._more.pop(refusal):
            text = "%s limit=%d refused=%d in %gs, the last ip=%s"
            log.warning(text, refusal.value, limit, more, LOG_INTERVAL, self._last)
            self._begin_interval(refusal, limit)
