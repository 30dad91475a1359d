# SPDX-License-Identifier: MIT
"""AddressList: addresses, domains and patterns with reasons, as in badmailfrom and badrcptto.

A line is a word and, after white space, the reason that the client gets to read. The word is

- `user@example.com`: this address;
- `@example.com`: every address in this domain (not in those below it);
- anything with one of `/ ^ $ * + ! % ? \\`: a regular expression, found anywhere in the address
  unless it is anchored; it may stand between slashes. When it has an @ it is also taken literally,
  since `user+tag@example.com` is an address as well.

Upper and lower case are the same everywhere.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.address import Address
from qpsmtpd.plugin.services import Entry

_is_pattern = re.compile(r"[/^$*+!%?\\]").search


@dataclass(frozen=True, slots=True)
class Listed:
    """A line that matched: its first word, and the reason or ""."""

    word: str
    reason: str


class AddressList:
    """The lines of such a file.  Raises ConfigError for a line that is none of the three."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._exact: dict[str, Listed] = {}
        self._patterns: list[tuple[re.Pattern[str], Listed]] = []
        for entry in entries:
            self._add(entry)

    def find(self, address: Address) -> Listed | None:
        """The line that the address is on: exact ones first, then patterns from the top down.

        An address without a domain is on none.
        """
        if address.domain is None:
            return None
        key = address.key
        listed = self._exact.get(key) or self._exact.get(f"@{address.domain.lower()}")
        if listed:
            return listed
        return next((line for pattern, line in self._patterns if pattern.search(key)), None)

    def _add(self, entry: Entry) -> None:
        word, *rest = entry.text.split(maxsplit=1) or [""]
        listed = Listed(word, "".join(rest).strip())
        if _is_pattern(word):
            self._patterns.append((compile_pattern(word, entry.where), listed))
        elif "@" not in word:
            raise ConfigError(
                entry.where, f"{word!r} is no address, @domain, or regular expression"
            )
        if "@" in word:
            self._exact.setdefault(word.lower(), listed)


def compile_pattern(word: str, where: str) -> re.Pattern[str]:
    """A regular expression of an administrator, with slashes around it or without.

    Raises ConfigError when Python cannot read it, or reads it differently from Perl.
    """
    expression = word[1:-1] if len(word) > 2 and word[0] == word[-1] == "/" else word
    try:
        with warnings.catch_warnings():
            # [[:alpha:]] and the like: Python would take them for something else.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(expression, re.IGNORECASE)
    except (re.error, FutureWarning) as error:
        raise ConfigError(where, f"{word!r} is no regular expression: {error}") from None
