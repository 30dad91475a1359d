# SPDX-License-Identifier: MIT
"""Query: what is to be explained, as it is written on the command line."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.selection import Selection, meanings, parse_client
from qpsmtpd.errors import QpsmtpdError

_OUTCOMES = ("accepted", "deferred", "refused")
_FORM = "`last refused for ADDRESS` (or accepted, deferred)"


@dataclass(frozen=True)
class Query:
    """What is meant: an id, an address, a domain, a client; of one outcome or any.

    text: as it was given.  last: whether only the last one is wanted.
    secret: the key under which addresses are hashed, if they are.
    """

    text: str
    outcome: str = ""
    last: bool = False
    secret: bytes | None = None

    def means(self, decision: Decision) -> bool:
        """Whether a decision is meant."""
        return any(each.has(decision) for each in self.meanings)

    def may_be_in(self, line: str) -> bool:
        """Whether a line of a log may tell of such a decision: most lines do not."""
        return self._is_spelled_otherwise or self.text.lower() in line.lower()

    @functools.cached_property
    def meanings(self) -> list[Selection]:
        """What the text may mean."""
        return [
            replace(each, outcome=self.outcome, secret=self.secret) for each in meanings(self.text)
        ]

    @functools.cached_property
    def _is_spelled_otherwise(self) -> bool:
        """A log may have a client of a network, another form of an IPv6 address or of a domain."""
        if not self.text.isascii() or "xn--" in self.text.lower():
            return True
        with suppress(ValueError):
            return parse_client(self.text) is not None
        return False


def parse_query(words: Sequence[str]) -> Query:
    """What the words of the command line mean.  Raises QpsmtpdError."""
    match words:
        case ["last", outcome, "for", text] if outcome in _OUTCOMES:
            return Query(text, outcome, last=True)
        case ["last", *_]:
            raise QpsmtpdError(f"say {_FORM}, not {' '.join(words)!r}")
        case [text] if text:
            return Query(text)
    raise QpsmtpdError(f"name one id, address or client, or say {_FORM}")
