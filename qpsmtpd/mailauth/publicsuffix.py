# SPDX-License-Identifier: MIT
"""The public suffix list: below which names anybody can register one (publicsuffix.org).

DMARC once found the domain of an organization by it (RFC 7489 section 3.2); RFC 9989 asks the DNS.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.domain import canonical_domain

_COMMENT = "//"


class PublicSuffixes:
    """The rules of a list, for look-ups that take a few microseconds."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Read the lines of a list; what is not a rule in them is ignored."""
        self._suffixes: set[str] = set()
        self._wildcards: set[str] = set()
        self._exceptions: set[str] = set()
        for line in lines:
            rule = next(iter(line.split()), "")
            if rule and not rule.startswith(_COMMENT):
                self._add(rule)

    def __len__(self) -> int:
        return len(self._suffixes) + len(self._wildcards) + len(self._exceptions)

    def organizational_domain(self, domain: str) -> str:
        """The domain that somebody has registered: one label below the longest suffix.

        domain: as A-labels.  A suffix is its own organization.
        """
        labels = domain.split(".")
        names = [".".join(labels[start:]) for start in range(len(labels))]
        for place, name in enumerate(names):
            if name in self._exceptions:
                return name
            above = names[place + 1] if place + 1 < len(names) else ""
            if name in self._suffixes or above in self._wildcards:
                return names[max(place - 1, 0)]
        # Without a rule the top-level domain is the suffix.
        return names[-2] if len(names) > 1 else domain

    def knows(self, domain: str) -> bool:
        """Whether a rule is about the top-level domain; domain: as A-labels."""
        top = domain.rpartition(".")[2]
        return top in self._suffixes or top in self._wildcards

    def _add(self, rule: str) -> None:
        if rule.startswith("!"):
            self._exceptions.add(canonical_domain(rule[1:]))
        elif rule.startswith("*."):
            self._wildcards.add(canonical_domain(rule[2:]))
        else:
            self._suffixes.add(canonical_domain(rule))


def read_public_suffixes(path: Path) -> PublicSuffixes:
    """Read a list from a file; this blocks for 15 ms.  Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as lines:
            suffixes = PublicSuffixes(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})") from None
    if not suffixes:
        raise ConfigError(str(path), "has no public suffixes")
    return suffixes
