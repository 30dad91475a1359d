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
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from qpsmtpd.decisions.decision import END, Decision
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

    def decisions(self) -> Iterator[Decision]:
        """What is in it.  Raises ValueError."""
        try:
            text = zlib.decompressobj().decompress(self.packed, _MOST_UNPACKED)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        return map(Decision.decode, text.decode("utf-8", "surrogatepass").split(END))


class Book:
    """The decisions in a store.  Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        # No plugin can have a name with a space.
        self._store = store.scoped("decisions kept")
        #: Chunks that could not be read.
        self.damaged = 0

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

    async def newest_first(self, until: float = math.inf) -> AsyncIterator[Decision]:
        """All decisions until that time, the last one first."""
        state = await self.state()
        end = state.end if until == math.inf else await self._end(state, until)
        waiting: list[tuple[float, int, Decision]] = []
        order = itertools.count()
        async for begin, found in self._chunks(range(end - 1, state.first - 1, -1)):
            for decision in reversed(found):
                if decision.time <= until:
                    heapq.heappush(waiting, (-decision.time, next(order), decision))
            # An older chunk began before this one, and went on for so long at the most.
            while waiting and -waiting[0][0] > begin + CHUNK_SECONDS:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    async def oldest_first(self, since: float = 0.0) -> AsyncIterator[Decision]:
        """All decisions since that time, in the order of their times."""
        state = await self.state()
        waiting: list[tuple[float, int, Decision]] = []
        order = itertools.count()
        async for begin, found in self._chunks(range(state.first, state.end), since):
            # A newer chunk has begun later.
            while waiting and waiting[0][0] < begin:
                yield heapq.heappop(waiting)[2]
            for decision in found:
                if decision.time >= since:
                    heapq.heappush(waiting, (decision.time, next(order), decision))
        while waiting:
            yield heapq.heappop(waiting)[2]

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
        low, high = state.first, state.end
        while low < high:
            middle = (low + high) // 2
            number, begin = await self._begin_of_next(middle, high)
            if begin > until + _DISORDER:
                high = middle
            else:
                low = number + 1
        return low

    async def _begin_of_next(self, number: int, end: int) -> tuple[int, float]:
        """The first chunk from `number` on that can be read, and when it began."""
        for each in range(number, end):
            data = await self._store.get(_name(each))
            chunk = None if data is None else self._decoded(data)
            if chunk is not None:
                return each, chunk.begin
        return end, math.inf

    async def _chunks(
        self, numbers: range | tuple[int, ...], since: float = 0.0
    ) -> AsyncIterator[tuple[float, list[Decision]]]:
        """The beginnings and decisions of these chunks; none that ended before that time."""
        for start in range(0, len(numbers), _READ):
            names = map(_name, numbers[start : start + _READ])
            for data in await asyncio.gather(*map(self._store.get, names)):
                chunk = None if data is None else self._decoded(data)
                if chunk is None or chunk.begin < since - 2 * CHUNK_SECONDS:
                    continue
                try:
                    yield chunk.begin, list(chunk.decisions())
                except (ValueError, TypeError):
                    self.damaged += 1

    def _decoded(self, data: bytes) -> Chunk | None:
        try:
            return Chunk.decode(data)
        except ValueError:
            self.damaged += 1
            return None


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
