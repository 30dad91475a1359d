# SPDX-License-Identifier: MIT
"""Operations: what a back end can be asked to do.  Each one is atomic across all processes.

`name` is the full name of an entry.  `ttl` is the number of seconds after which it is gone.  Get,
Add and Replace answer bytes or None, Increment and Count an int, Scan a Page, the others None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Get:
    """The value of an entry, None when there is none."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write an entry, whatever was there."""

    name: bytes
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Add:
    """Write an entry unless there is one; answers the value that was there."""

    name: bytes
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Replace:
    """Write an entry if its value is `old`; answers the value that was there."""

    name: bytes
    old: bytes
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget an entry."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Increment:
    """Add to a counter, which begins at 0; answers the sum.  Only the first sets the expiry."""

    name: bytes
    by: int
    ttl: float


@dataclass(frozen=True, slots=True)
class Count:
    """The sum of a counter, 0 when there is none."""

    name: bytes


class Page(NamedTuple):
    """Some entries, names and values; `cursor` is for the next page, b"" if there is none."""

    entries: tuple[tuple[bytes, bytes], ...]
    cursor: bytes = b""


@dataclass(frozen=True, slots=True)
class Scan:
    """A page of the entries with a value whose names begin in this way, from `cursor` on.

    An entry that is there all the time comes at least once; one that is not may come or not.
    """

    beginning: bytes
    cursor: bytes = b""

    @property
    def name(self) -> bytes:
        """What the names begin with."""
        return self.beginning


#: A page has about this many entries.
PAGE = 500

Operation = Get | Put | Add | Replace | Delete | Increment | Count | Scan

#: Shows whether a store works again: one that is full or read-only does not.
PROBE = Put(b"probe", b"", 60)
