# SPDX-License-Identifier: MIT
"""AddressList, AddressSet: addresses and domains, in whatever spelling; see `Address.key`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import read_each
from qpsmtpd.lists.patterns import Pattern
from qpsmtpd.mail.address import Address, address_key
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.plugin.services import Entry

_is_pattern = re.compile(r"[/^$*+!%?\\]").search


@dataclass(frozen=True, slots=True)
class Listed:
    """A line that matched: its first word, and the reason or ""."""

    word: str
    reason: str


class AddressList:
    """A list that refuses: addresses, domains and patterns with reasons, as in badmailfrom.

    A line is a word and, after white space, the reason that the client gets. The word is

    - `user@example.com`: this address;
    - `@example.com`: every address in this domain (not in those below it);
    - anything with one of `/ ^ $ * + ! % ? \\`: a regular expression (see lists/patterns.py). When
      it has an @ it is also taken literally, since `user+tag@example.com` is an address as well.

    patterns: every word is a regular expression, as in badmailfrom_patterns.

    Raises ConfigError for a line that is none of the three.
    """

    __slots__ = ("_all_patterns", "_exact", "_patterns")

    def __init__(self, entries: Iterable[Entry], *, patterns: bool = False) -> None:
        self._all_patterns = patterns
        self._exact: dict[str, Listed] = {}
        self._patterns: list[tuple[Pattern, Listed]] = []
        read_each(entries, self._add)

    def find(self, address: Address) -> Listed | None:
        """The line that the address is on: exact ones first, then patterns from the top down.

        An address without a domain is on none.
        """
        if address.domain is None:
            return None
        listed = self._exact.get(address.key) or self._exact.get(f"@{address.domain}")
        if listed or not self._patterns:
            return listed
        spellings = address.spellings
        return next((line for pattern, line in self._patterns if pattern.refuses(spellings)), None)

    def _add(self, entry: Entry) -> None:
        word, *rest = entry.text.split(maxsplit=1) or [""]
        listed = Listed(word, "".join(rest).strip())
        if self._all_patterns or _is_pattern(word):
            self._patterns.append((Pattern(word, entry.where), listed))
        elif "@" not in word:
            raise ConfigError(
                entry.where, f"{word!r} is not an address, @domain, or regular expression"
            )
        if "@" in word and not self._all_patterns:
            self._exact.setdefault(address_key(word), listed)


class AddressSet:
    """A list that admits: addresses, and domains with or without an @ in front, no patterns.

    A domain does not stand for addresses in it that name a further route (`Address.is_route`).
    """

    __slots__ = ("_addresses", "_domains")

    def __init__(self, entries: Iterable[Entry]) -> None:
        words = [entry.text.removeprefix("@") for entry in entries]
        self._addresses = frozenset(address_key(word) for word in words if "@" in word)
        self._domains = frozenset(canonical_domain(word) for word in words if "@" not in word)

    def __contains__(self, address: Address) -> bool:
        if address.domain is None:
            return False
        if address.key in self._addresses:
            return True
        return address.domain in self._domains and not address.is_route
