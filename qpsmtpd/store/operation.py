# SPDX-License-Identifier: MIT
"""Operations: what a back end can be asked to do.  Each one is atomic across all processes.

`name` is the full name of an entry.  `ttl` is the number of seconds after which it is gone.  Get,
Add and Replace answer bytes or None, Increment and Count an int, the others None.
"""

from __future__ import annotations

from dataclasses import dataclass


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


Operation = Get | Put | Add | Replace | Delete | Increment | Count

#: Shows whether a store works again: one that is full or read-only does not.
PROBE = Put(b"probe", b"", 60)
