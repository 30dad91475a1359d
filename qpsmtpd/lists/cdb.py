# SPDX-License-Identifier: MIT
"""Reads constant databases, the `.cdb` files of qmail and its relatives (morercpthosts.cdb).

The format: 256 pairs (position, number of slots) of the hash tables, then the records (key length,
value length, key, value), then the tables, whose slots are pairs (hash, position of the record).
All numbers are 32 bits, little-endian. The low byte of a key's hash selects the table, the other
bits the first slot; the search goes on from there, around the end, up to an empty slot.

The file need not be trusted: every position is checked before it is followed.
"""

from collections.abc import Iterator, Mapping
from mmap import ACCESS_READ, mmap
from os import PathLike
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

_TABLES = 256
_PAIR = Struct("<II")
_HEADER = Struct(f"<{_TABLES * 2}I")


class CdbError(ValueError):
    """The file is not a constant database, or is damaged."""


class Cdb(Mapping[bytes, bytes]):
    """A constant database as a read-only mapping; of several records for a key the first counts.

    A lookup reads only the pages it needs and sees the file as it was when opened, provided that
    it is replaced by renaming, as the tools that write such files do. `len` and iteration read all
    of it. After `close` every access raises ValueError.
    """

    def __init__(self, data: mmap) -> None:
        if len(data) < _HEADER.size:
            raise CdbError("too short for a constant database")
        self._data = data
        header = _HEADER.unpack_from(data)
        self._tables = list(zip(header[::2], header[1::2], strict=True))
        # The records end where the first table begins; unused tables may claim any position.
        used = [(position, slots) for position, slots in self._tables if slots]
        self._records_end = min(used)[0] if used else _HEADER.size
        if self._records_end < _HEADER.size or any(
            position + slots * _PAIR.size > len(data) for position, slots in used
        ):
            raise CdbError("hash table outside of the file")

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """Map the file into memory; raises OSError, or CdbError if it is not such a database."""
        with Path(path).open("rb") as file:
            try:
                data = mmap(file.fileno(), 0, access=ACCESS_READ)
            except ValueError:
                raise CdbError("empty file") from None
        return cls(data)

    def close(self) -> None:
        """Give the mapped memory back."""
        self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, key: bytes) -> bytes:
        position = self._find(key)
        if position is None:
            raise KeyError(key)
        start, key_length, value_length = self._record(position)
        return self._data[start + key_length : start + key_length + value_length]

    def __iter__(self) -> Iterator[bytes]:
        position = _HEADER.size
        while position < self._records_end:
            start, key_length, value_length = self._record(position)
            key = self._data[start : start + key_length]
            if self._find(key) == position:
                yield key
            position = start + key_length + value_length

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, key: bytes) -> int | None:
        """The position of the key's first record; None if it has none."""
        wanted = _hash(key)
        table, slots = self._tables[wanted % _TABLES]
        first = wanted // _TABLES
        for probe in range(slots):
            slot = table + (first + probe) % slots * _PAIR.size
            found, position = _PAIR.unpack_from(self._data, slot)
            if not position:
                return None
            if found == wanted and self._has_key(position, key):
                return int(position)
        return None

    def _has_key(self, position: int, key: bytes) -> bool:
        start, key_length, _ = self._record(position)
        return self._data[start : start + key_length] == key

    def _record(self, position: int) -> tuple[int, int, int]:
        """Where the key of the record at `position` starts, and the lengths of key and value."""
        start = position + _PAIR.size
        if position < _HEADER.size or start > self._records_end:
            raise CdbError("record outside of the file")
        key_length, value_length = _PAIR.unpack_from(self._data, position)
        if start + key_length + value_length > self._records_end:
            raise CdbError("record outside of the file")
        return start, key_length, value_length


def _hash(key: bytes) -> int:
    value = 5381
    for octet in key:
        value = (value * 33 & 0xFFFFFFFF) ^ octet
    return value
