# SPDX-License-Identifier: MIT
"""Query: what is to be explained, as it is written on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.selection import Selection, ids_of, parse_client
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
        if self.names(decision):
            return True
        return any(replace(each, secret=secret).has(decision) for each in self._selections())

    def names(self, decision: Decision) -> bool:
        """Whether it is the id of this decision, or of its session."""
        return self.text in ids_of(decision)

    def _selections(self) -> list[Selection]:
        found = [Selection(address=self.text)]
        if "@" not in self.text:
            found.append(Selection(address=f"@{self.text}"))
        with suppress(ValueError):
            found.append(Selection(client=parse_client(self.text)))
        return found


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
