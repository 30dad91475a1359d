# SPDX-License-Identifier: MIT
"""Lines: reads a list line by line, so that every wrong line is reported and not just the first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from qpsmtpd.errors import ConfigError

L = TypeVar("L")
T = TypeVar("T")


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
