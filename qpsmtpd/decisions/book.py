# SPDX-License-Identifier: MIT
"""The book: how decisions lie in the store, and how they are found again.

Decisions are in chunks, one entry of the store each, with consecutive numbers.  An entry `state`
says which numbers there are, and how many octets were ever written; each chunk says how many had
been before it.  So a writer knows how much there is, and drops the oldest chunks when it is too
much; entries expire after some days.  A number may be missing.

A chunk is written again while its process adds to it, for CHUNK_SECONDS at the most.  Chunks of
several processes overlap by that; readers put the decisions into the order of their times.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import math
import secrets
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import NamedTuple

from qpsmtpd.decisions.decision import END, Decision
from qpsmtpd.decisions.sieve import Sieve
from qpsmtpd.plugin.services import Store

#: Seconds during which decisions are added to a chunk, and how many make it full.
CHUNK_SECONDS = 600.0
FULL = 100

_STATE = "state"
_KEY = "key"
_DAY = 86400.0
#: The secret lives longer than anything that was hashed with it.
_KEY_DAYS = 3650

#: Chunks that are dropped in one go, and that are read in one.
_DROPPED = 20
_READ = 20
#: How many of the newest chunks `watch` reads again, as they may still grow.
_MAY_BE_OPEN = 200
#: Seconds by which a chunk may have begun before one with a smaller number.
_DISORDER = 60.0
#: A chunk that is damaged must not take all memory.
_MOST_UNPACKED = 64 << 20

#: Version, time of the first decision, octets written before.
_HEAD = struct.Struct(">4sdQ")
_VERSION = b"QD2\n"
_END = END.encode()


class State(NamedTuple):
    """first: the number of the oldest chunk; end: the next number; written: octets ever written."""

    first: int = 0
    end: int = 0
    written: int = 0


class Chunk(NamedTuple):
    """Decisions of one process in the order of their times; begin: the time of the first."""

    begin: float
    before: int
    packed: bytes

    @classmethod
    def of(cls, begin: float, texts: Sequence[str]) -> Chunk:
        """The chunk with the texts of these decisions."""
        text = END.join(texts).encode("utf-8", "surrogatepass")
        return cls(begin, 0, zlib.compress(text, 1))

    def encode(self, before: int) -> bytes:
        """As it lies in the store."""
        return _HEAD.pack(_VERSION, self.begin, before) + self.packed

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """What lies in the store.  Raises ValueError."""
        try:
            version, begin, before = _HEAD.unpack_from(data)
        except struct.error:
            raise ValueError("too short") from None
        if version != _VERSION:
            raise ValueError(f"of another version: {version!r}")
        return cls(begin, before, data[_HEAD.size :])

    def octets(self) -> bytes:
        """The texts of the decisions in it, END between them.  Raises ValueError."""
        try:
            return zlib.decompressobj().decompress(self.packed, _MOST_UNPACKED)
        except zlib.error as error:
            raise ValueError(str(error)) from None

    def decisions(self, sieve: Sieve | None = None) -> tuple[list[Decision], int]:
        """What is in it and goes through a sieve, and how many do not.  Raises ValueError."""
        octets = self.octets()
        if sieve is None:
            return _decoded(octets.decode("utf-8", "surrogatepass").split(END)), 0
        if not sieve(octets):
            return [], octets.count(_END) + 1
        texts = octets.split(_END)
        found = [each.decode("utf-8", "surrogatepass") for each in texts if sieve(each)]
        return _decoded(found), len(texts) - len(found)


class Reach(NamedTuple):
    """Decisions, the last one first; back: all that are later than that are known by now."""

    decisions: list[Decision]
    back: float


class Book:
    """The decisions in a store.  Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        # No plugin can have a name with a space.
        self._store = store.scoped("decisions kept")
        #: The numbers of chunks that could not be read.
        self._damaged: set[int] = set()
        #: Decisions that were read and did not go through a sieve.
        self.left_out = 0
        #: Called with the part that has been read, while a lot of it is.
        self.tell: Callable[[float], None] = lambda _: None

    @property
    def damaged(self) -> int:
        """Chunks that could not be read so far."""
        return len(self._damaged)

    async def secret(self) -> bytes:
        """The key for hashes, made when it is needed first."""
        new = secrets.token_bytes(16)
        return await self._store.add(_KEY, new, _KEY_DAYS * _DAY) or new

    async def known_secret(self) -> bytes | None:
        """The key for hashes, if there is one."""
        return await self._store.get(_KEY)

    # --- writing --------------------------------------------------------------------------------

    async def begin(self, size: int, days: float) -> State:
        """Reserve a chunk of `size` octets, which `written` includes; its number is `end - 1`."""

        def begun(value: bytes | None) -> bytes:
            state = _state(value)
            return json.dumps((state.first, state.end + 1, state.written + size)).encode()

        return _state(await self._store.update(_STATE, begun, days * _DAY))

    async def grow(self, size: int, days: float) -> State:
        """A chunk has grown by `size` octets."""

        def grown(value: bytes | None) -> bytes:
            state = _state(value)
            return json.dumps((state.first, state.end, state.written + size)).encode()

        return _state(await self._store.update(_STATE, grown, days * _DAY))

    async def put(self, number: int, data: bytes, days: float) -> None:
        """Write a chunk."""
        await self._store.put(_name(number), data, days * _DAY)

    async def drop(self, state: State, size: int, days: float) -> None:
        """Drop the oldest chunks if all together are larger than `size` octets."""
        first = await self._drop(state, size)
        if first == state.first:
            return

        def moved(value: bytes | None) -> bytes:
            now = _state(value)
            return json.dumps((max(now.first, first), now.end, now.written)).encode()

        await self._store.update(_STATE, moved, days * _DAY)

    async def _drop(self, state: State, size: int) -> int:
        """Which chunk is the first one then."""
        first = state.first
        while first < min(state.end - 1, state.first + _DROPPED):
            data = await self._store.get(_name(first))
            if data is not None and not _is_too_much(data, state, size):
                break
            await self._store.delete(_name(first))
            first += 1
        return first

    # --- reading --------------------------------------------------------------------------------

    async def state(self) -> State:
        """Which chunks there are."""
        return _state(await self._store.get(_STATE))

    async def newest_first(
        self, until: float = math.inf, sieve: Sieve | None = None
    ) -> AsyncIterator[Decision]:
        """All decisions until that time that go through a sieve, the last one first."""
        async for reach in self.reaches(until, sieve):
            for decision in reach.decisions:
                yield decision

    async def reaches(
        self, until: float = math.inf, sieve: Sieve | None = None
    ) -> AsyncIterator[Reach]:
        """The same, some chunks at a time: also where nothing goes through the sieve."""
        state = await self.state()
        end = state.end if until == math.inf else await self._end(state, until)
        waiting: list[tuple[float, int, Decision]] = []
        order = itertools.count()
        async for begin, found in self._chunks(range(end - 1, state.first - 1, -1), sieve=sieve):
            for decision in reversed(found):
                if decision.time <= until:
                    heapq.heappush(waiting, (-decision.time, next(order), decision))
            # An older chunk began before this one, and went on for so long at the most.
            back = begin + CHUNK_SECONDS
            yield Reach(list(_popped(waiting, -back)), back)
        yield Reach(list(_popped(waiting, math.inf)), -math.inf)

    async def oldest_first(
        self, since: float = 0.0, until: float = math.inf, sieve: Sieve | None = None
    ) -> AsyncIterator[Decision]:
        """All decisions of that time that go through a sieve, in the order of their times."""
        state = await self.state()
        first = await self._first(state, since) if since > 0 else state.first
        end = state.end if until == math.inf else await self._end(state, until)
        waiting: list[tuple[float, int, Decision]] = []
        order = itertools.count()
        async for begin, found in self._chunks(range(first, end), since, sieve):
            # A newer chunk has begun later.
            for decision in _popped(waiting, begin):
                yield decision
            for decision in found:
                if since <= decision.time <= until:
                    heapq.heappush(waiting, (decision.time, next(order), decision))
        for decision in _popped(waiting, math.inf):
            yield decision

    async def watch(self, seconds: float) -> AsyncIterator[list[Decision]]:
        """What is new, each time; looks every `seconds`."""
        state = await self.state()
        first = max(state.first, state.end - _MAY_BE_OPEN)
        #: How many decisions of a chunk are known; those that are full are not read again.
        seen: dict[int, int] = {}
        begun = False
        while True:
            new: list[Decision] = []
            for number in range(max(first, state.first), state.end):
                if seen.get(number, 0) < FULL:
                    found = [decisions async for _, decisions in self._chunks((number,))]
                    decisions = found[0] if found else []
                    new += decisions[seen.get(number, 0) :]
                    seen[number] = max(seen.get(number, 0), len(decisions))
            yield sorted(new, key=lambda decision: decision.time) if begun else []
            begun = True
            await asyncio.sleep(seconds)
            state = await self.state()
            first = max(first, state.end - _MAY_BE_OPEN)
            seen = {number: count for number, count in seen.items() if number >= first}

    async def _end(self, state: State, until: float) -> int:
        """The number behind the last chunk that may have begun by that time."""
        return await self._begun_after(state, until + _DISORDER)

    async def _first(self, state: State, since: float) -> int:
        """The number of the first chunk that may have decisions since that time."""
        return await self._begun_after(state, since - 2 * CHUNK_SECONDS - 2 * _DISORDER)

    async def _begun_after(self, state: State, time: float) -> int:
        """A chunk that began after that time, as no chunk behind it began _DISORDER before it."""
        low, high = state.first, state.end
        while low < high:
            middle = (low + high) // 2
            number, begin = await self._begin_of_next(middle, high)
            if begin > time:
                high = middle
            else:
                low = number + 1
        return low

    async def _begin_of_next(self, number: int, end: int) -> tuple[int, float]:
        """The first chunk from `number` on that can be read, and when it began."""
        for each in range(number, end):
            data = await self._store.get(_name(each))
            chunk = None if data is None else self._decoded(each, data)
            if chunk is not None:
                return each, chunk.begin
        return end, math.inf

    async def _chunks(
        self,
        numbers: range | tuple[int, ...],
        since: float = 0.0,
        sieve: Sieve | None = None,
    ) -> AsyncIterator[tuple[float, list[Decision]]]:
        """The beginnings and decisions of these chunks; none that ended before that time."""
        for start in range(0, len(numbers), _READ):
            some = numbers[start : start + _READ]
            found = await asyncio.gather(*map(self._store.get, map(_name, some)))
            for number, data in zip(some, found, strict=True):
                chunk = None if data is None else self._decoded(number, data)
                if chunk is None or chunk.begin < since - 2 * CHUNK_SECONDS:
                    continue
                try:
                    decisions, left_out = chunk.decisions(sieve)
                except (ValueError, TypeError):
                    self._damaged.add(number)
                    continue
                self.left_out += left_out
                yield chunk.begin, decisions
            self.tell((start + len(some)) / len(numbers))

    def _decoded(self, number: int, data: bytes) -> Chunk | None:
        try:
            return Chunk.decode(data)
        except ValueError:
            self._damaged.add(number)
            return None


def _decoded(texts: Sequence[str]) -> list[Decision]:
    return list(map(Decision.decode, texts))


def _popped(waiting: list[tuple[float, int, Decision]], before: float) -> Iterator[Decision]:
    """The decisions on a heap whose place in the order is before that one."""
    while waiting and waiting[0][0] < before:
        yield heapq.heappop(waiting)[2]


def _name(number: int) -> str:
    return f"{number:012}"


def _state(value: bytes | None) -> State:
    """The state; a damaged one is a new one, as if there were nothing."""
    try:
        first, end, written = json.loads(value or b"[0,0,0]")
        return State(int(first), int(end), int(written))
    except (ValueError, TypeError):
        return State()


def _is_too_much(data: bytes, state: State, size: int) -> bool:
    """Whether this chunk, the oldest one, begins too far back."""
    try:
        return state.written - Chunk.decode(data).before > size
    except ValueError:
        return True
