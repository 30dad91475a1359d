# SPDX-License-Identifier: MIT
"""Lines: reads a list line by line, so that every wrong line is reported and not just the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    if wrong:
        first = wrong[0]
        first.parts = tuple(wrong)
        raise first
    return results
