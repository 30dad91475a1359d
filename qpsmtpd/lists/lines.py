# SPDX-License-Identifier: MIT
"""Lines: reads a list line by line, so that every wrong line is reported and not just the first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from qpsmtpd.errors import ConfigError

L = TypeVar("L")
T = TypeVar("T")

#: To make something of this many lines may take milliseconds.
_MANY = 1000


def read_each(lines: Iterable[L], read: Callable[[L], T]) -> list[T]:
    """What `read` makes of each line.

    If `read` raises ConfigError for some of them, this raises the first one, whose `parts` are all.
    """
    results: list[T] = []
    wrong: list[ConfigError] = []
    for line in lines:
        try:
            results.append(read(line))
        except ConfigError as error:
            wrong.extend(error.parts)
    _raise(wrong)
    return results


async def made_of(lines: Sequence[L], make: Callable[[Sequence[L]], T]) -> T:
    """What `make` makes of the lines of a list, in a thread if there are many.

    The clients that are served meanwhile, when the configuration is read again, do not wait then.
    """
    return make(lines) if len(lines) < _MANY else await asyncio.to_thread(make, lines)


async def read_all(*lists: Awaitable[T]) -> list[T]:
    """What several lists have, each of which is being read; raises ConfigError as `read_each`."""
    results: list[T] = []
    wrong: list[ConfigError] = []
    for reading in lists:
        try:
            results.append(await reading)
        except ConfigError as error:
            wrong.extend(error.parts)
    _raise(wrong)
    return results


def _raise(wrong: list[ConfigError]) -> None:
    """Raise the first of these errors, with all as its parts; nothing if there is none."""
    if wrong:
        wrong[0].parts = tuple(wrong)
        raise wrong[0]
