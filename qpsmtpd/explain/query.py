# SPDX-License-Identifier: MIT
"""Query: what is to be explained, as it is written on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.selection import meanings
from qpsmtpd.errors import QpsmtpdError

_OUTCOMES = ("accepted", "deferred", "refused")
_FORM = "`last refused for ADDRESS` (or accepted, deferred)"


@dataclass(frozen=True)
class Query:
    """What is meant: an id, an address, a domain, a client; of one outcome or any.

    text: as it was given.  last: whether only the last one is wanted.
    """

    text: str
    outcome: str = ""
    last: bool = False

    def means(self, decision: Decision, secret: bytes | None = None) -> bool:
        """Whether a decision is meant; `secret`: the key under which addresses are hashed."""
        if self.outcome not in ("", decision.outcome):
            return False
        return any(replace(each, secret=secret).has(decision) for each in meanings(self.text))


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
