# SPDX-License-Identifier: MIT
"""ClusterBackend: the store on a Redis or Valkey Cluster.

    batch -> one part for each node that has entries of it -> the nodes, at the same time

Every operation is about one entry, and its key says in which of the 16384 slots it is; the nodes
say which of them has a slot.  One that has given a slot away says to whom (MOVED), or whom to ask
as well (ASK); a node that fails, and such a reply, have the map of slots read again.

A node that does not answer costs only what is on it: its operations fail by themselves, after half
of the time that anybody waits, and for a while at once (plugin/breaker.py).  Only a Cluster of
which no node says where the slots are is down as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from qpsmtpd.errors import PeerError, StoreError
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.location import Address, RedisLocation
from qpsmtpd.store.operation import Operation, Page, Scan
from qpsmtpd.store.redisentries import Command, answer_of, command_of, key_of
from qpsmtpd.store.redisnode import Node, connected

log = logging.getLogger(__name__)

SLOTS = 16384

#: How often an operation is sent on.
MAX_HOPS = 5

#: Seconds between two readings of the map, and the most between them while nobody has it.
RETRY = 1.0
MAX_RETRY = 8.0

_SLOTS_COMMAND: Command = ("CLUSTER", "SLOTS")
_redirection = re.compile(r"(?P<kind>MOVED|ASK) (?P<slot>\d{1,5}) (?P<host>\S*):(?P<port>\d{1,5})")


class Redirection(NamedTuple):
    """Who has a slot; `asking`: only for this one command."""

    slot: int
    address: Address
    asking: bool


class Job(NamedTuple):
    """An operation on its way: its number in the batch, who is to be asked, and how."""

    number: int
    operation: Operation
    address: Address
    asking: bool = False


class _Part:
    """A node and whether it is worth asking."""

    def __init__(self, location: RedisLocation, address: Address, timeout: float, clock: Clock):
        self.node = Node(location, timeout, partial(connected, location, address, timeout))
        self.breaker = Breaker(clock, "node of the store", str(address))


class ClusterBackend:
    """Implements guard.Backend."""

    def __init__(self, location: RedisLocation, timeout: float, clock: Clock) -> None:
        """`timeout`: seconds that an answer may take."""
        self.place = str(location)
        self._location = location
        self._timeout = timeout
        self._clock = clock
        self._parts: dict[Address, _Part] = {}
        #: Who has each slot; empty before anybody was asked.
        self._owners: dict[int, Address] = {}
        self._stale = True
        self._next_reading = 0.0
        self._retry = RETRY

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        """Carry out operations; the answer of one that failed by itself is a StoreError."""
        await self._read_map()
        answers: list[Any] = [None] * len(batch)
        jobs = self._jobs(batch, answers)
        for _ in range(MAX_HOPS):
            if not jobs:
                return answers
            jobs = await self._round(jobs, answers)
        for job in jobs:
            answers[job.number] = StoreError("the nodes send it from one to the other")
        return answers

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(part.node.close() for part in self._parts.values()))

    async def nodes(self) -> Mapping[Address, int]:
        """The masters, and the number of slots that each has.  Raises StoreError."""
        self._next_reading = 0.0
        await self._read_map()
        return {node: list(self._owners.values()).count(node) for node in self._masters()}

    def owner(self, slot: int) -> Address | None:
        """The node that has a slot, as far as we know."""
        return self._owners.get(slot)

    # --- operations -----------------------------------------------------------------------------

    def _jobs(self, batch: Sequence[Operation], answers: list[Any]) -> list[Job]:
        jobs = []
        for number, operation in enumerate(batch):
            address = self._address_for(operation)
            if address is None:
                self._stale = True
                answers[number] = StoreError("CLUSTERDOWN no node has this slot")
            else:
                jobs.append(Job(number, operation, address))
        return jobs

    def _address_for(self, operation: Operation) -> Address | None:
        if isinstance(operation, Scan):
            return self._scanned(operation.cursor)
        return self.owner(slot_of(key_of(operation.name)))

    async def _round(self, jobs: Sequence[Job], answers: list[Any]) -> list[Job]:
        """Ask all nodes at once; returns what is to be asked elsewhere."""
        by_node: dict[Address, list[Job]] = {}
        for job in jobs:
            by_node.setdefault(job.address, []).append(job)
        parts = await asyncio.gather(*(self._ask(*item, answers) for item in by_node.items()))
        return sorted((job for part in parts for job in part), key=_number)

    async def _ask(self, address: Address, jobs: Sequence[Job], answers: list[Any]) -> list[Job]:
        """Ask one node.  Whatever is wrong with it is the answer to its operations."""
        try:
            replies = iter(await self._exchange(address, _commands(jobs)))
        except StoreError as error:
            for job in jobs:
                answers[job.number] = error
            return []
        sent_on = []
        for job in jobs:
            if job.asking:
                next(replies)  # to ASKING itself
            sent_on.append(self._settle(job, next(replies), answers))
        return [job for job in sent_on if job is not None]

    def _settle(self, job: Job, reply: Any, answers: list[Any]) -> Job | None:
        """Take a reply for an answer; or else say who is to be asked."""
        if isinstance(reply, StoreError):
            if where := redirection_in(str(reply), job.address):
                return self._follow(job, where)
            self._stale = True
            answers[job.number] = reply
            return None
        try:
            answer = answer_of(job.operation, reply)
        except StoreError as error:
            answer = error
        answers[job.number] = self._placed(answer, job.address) if type(answer) is Page else answer
        return None

    def _follow(self, job: Job, where: Redirection) -> Job:
        if not where.asking:
            self._owners[where.slot] = where.address
            self._stale = True
        return job._replace(address=where.address, asking=where.asking)

    async def _exchange(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Send commands to a node.  Raises StoreError, after a part of the time."""
        part = self._part(address)
        if not part.breaker.may_try():
            self._stale = True  # another one may have its slots by now
            raise StoreError(part.breaker.reason)
        try:
            async with asyncio.timeout(self._timeout / 2):
                replies = await part.node.exchange(commands)
        except (StoreError, TimeoutError) as error:
            self._stale = True
            text = str(error) or f"no answer within {self._timeout / 2:g}s"
            part.breaker.failed(PeerError(text, unreachable=True))
            raise StoreError(text) from error
        part.breaker.worked()
        return replies

    def _part(self, address: Address) -> _Part:
        part = self._parts.get(address)
        if part is None:
            part = _Part(self._location, address, self._timeout, self._clock)
            self._parts[address] = part
        return part

    # --- listing --------------------------------------------------------------------------------

    def _masters(self) -> list[Address]:
        return sorted(set(self._owners.values()))

    def _scanned(self, cursor: bytes) -> Address | None:
        """The node that a cursor of ours, `HOST PORT CURSOR`, is about; at first, the first one."""
        masters = self._masters()
        if not cursor:
            return masters[0] if masters else None
        host, port, _ = cursor.decode().split(" ")
        return Address(host, int(port))

    def _placed(self, page: Page, address: Address) -> Page:
        """The page with a cursor of ours: behind the last page of a node, the next node begins."""
        cursor = page.cursor
        if not cursor:
            later = [master for master in self._masters() if master > address]
            if not later:
                return page
            address, cursor = later[0], b"0"
        return Page(page.entries, b"%s %d %s" % (address.host.encode(), address.port, cursor))

    # --- the map of slots -----------------------------------------------------------------------

    async def _read_map(self) -> None:
        """Ask who has which slots, if that may have changed.

        Raises StoreError if nobody says so, and nobody ever has.
        """
        now = self._clock.monotonic()
        if not self._stale or (self._owners and now < self._next_reading):
            return
        problems = []
        known = dict.fromkeys((*self._masters(), *self._location.addresses))
        for address in known:
            try:
                await self._read_map_of(address, self._timeout / 2 / len(known))
            except StoreError as error:
                problems.append(f"{address}: {error}")
            else:
                self._next_reading = now + RETRY
                self._retry = RETRY
                return
        self._next_reading = now + self._retry
        self._retry = min(2 * self._retry, MAX_RETRY)
        if not self._owners:
            raise StoreError(f"no node knows the Cluster: {'; '.join(problems)}")

    async def _read_map_of(self, address: Address, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                (reply,) = await self._part(address).node.exchange([_SLOTS_COMMAND])
        except TimeoutError:
            raise StoreError("does not answer") from None
        if isinstance(reply, StoreError):
            raise reply
        owners = owners_in(reply, address)
        if not owners:
            raise StoreError("knows of no slots")
        self._owners, self._stale = owners, False
        await self._forget()

    async def _forget(self) -> None:
        """Close the connections to nodes that have no slots any more."""
        masters = self._masters()
        gone = {a: self._parts.pop(a) for a in tuple(self._parts) if a not in masters}
        for address, part in gone.items():
            if not part.breaker.closed:
                log.warning("node of the store replaced: %s", address)
        await asyncio.gather(*(part.node.close() for part in gone.values()))


def _commands(jobs: Sequence[Job]) -> list[Command]:
    commands: list[Command] = []
    for job in jobs:
        if job.asking:
            commands.append(("ASKING",))
        commands.append(_command(job.operation))
    return commands


def _number(job: Job) -> int:
    return job.number


def _command(operation: Operation) -> Command:
    if isinstance(operation, Scan) and operation.cursor:
        operation = Scan(operation.beginning, operation.cursor.rpartition(b" ")[2])
    return command_of(operation)


def slot_of(key: bytes) -> int:
    """The slot of a key (Redis Cluster specification, "Key distribution model")."""
    from redis.crc import key_slot

    slot: int = key_slot(key, SLOTS)
    return slot


def redirection_in(text: str, asked: Address) -> Redirection | None:
    """Whom an error sends us to, if it does: `MOVED SLOT HOST:PORT`.

    asked: who says so; without a host, it means its own.
    """
    match = _redirection.fullmatch(text)
    if match is None or int(match["slot"]) >= SLOTS:
        return None
    address = Address(match["host"] or asked.host, int(match["port"]))
    return Redirection(int(match["slot"]), address, match["kind"] == "ASK")


def owners_in(reply: Any, asked: Address) -> dict[int, Address]:
    """Who has each slot, from the reply to CLUSTER SLOTS.  Raises StoreError if it is none.

    asked: who says so; where it does not know a host, it means its own.
    """
    owners: dict[int, Address] = {}
    for part in reply if isinstance(reply, list) else [reply]:
        match part:
            case [int(first), int(last), [host, int(port), *_], *_] if 0 <= first <= last < SLOTS:
                address = Address(_host(host) or asked.host, port)
                owners.update(dict.fromkeys(range(first, last + 1), address))
            case _:
                raise StoreError("its reply does not say who has which slots")
    return owners


def _host(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) and host != b"?" else ""
