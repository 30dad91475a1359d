# SPDX-License-Identifier: MIT
"""Tally: counts by name, exact for any number of names, in bounded memory.

Strangers choose the names, so there may be a million of them.  What does not fit into memory goes
to a scratch database of SQLite, a file that has no name and is gone with the process.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from qpsmtpd.decisions.decision import Outcome
from qpsmtpd.digest.digest import Counts, Row, Table

#: Names in memory, of all kinds together; one decision may bring some more.
MOST_NAMES = 50_000

#: A kind, and a name of that kind.
Name = tuple[str, str]

_COLUMNS: dict[Outcome, int] = {"accepted": 0, "deferred": 1, "refused": 2}
_BEFORE = 3

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE tally (
    kind TEXT, name TEXT, accepted INTEGER, deferred INTEGER, refused INTEGER, before INTEGER,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    accepted = accepted + excluded.accepted, deferred = deferred + excluded.deferred,
    refused = refused + excluded.refused, before = before + excluded.before
"""
_NOW = "accepted + deferred + refused"
_SUMS = f"SELECT sum(accepted), sum(deferred), sum(refused), count(*) FROM tally WHERE kind = ? AND {_NOW} > 0"  # noqa: E501, S608
_TOP = f"""
SELECT name, accepted, deferred, refused, before FROM tally WHERE kind = ? AND {_NOW} > 0
    ORDER BY {_NOW} DESC, name LIMIT ?
"""  # noqa: S608 (fixed words)
_NEW = f"""
SELECT name, accepted, deferred, refused, before FROM tally
    WHERE kind = ? AND {_NOW} > 0 AND before = 0 ORDER BY {_NOW} DESC, name LIMIT ?
"""  # noqa: S608 (fixed words)


class Tally:
    """Counts decisions under names of several kinds."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        #: By column, then by kind and name.
        self._counts: tuple[Counter[Name], ...] = tuple(Counter() for _ in range(_BEFORE + 1))
        self._scratch = sqlite3.connect("", isolation_level=None)
        self._scratch.executescript(_SCHEMA)

    def close(self) -> None:
        """Forget everything."""
        self._scratch.close()

    def add(self, names: Iterable[Name], outcome: Outcome, *, recent: bool) -> None:
        """Count a decision of the period, or of the one before.  The names can be printed."""
        if sum(map(len, self._counts)) >= self._most:
            self._spill()
        self._counts[_COLUMNS[outcome] if recent else _BEFORE].update(names)

    def table(self, kind: str, most: int) -> Table:
        """The names with most decisions of the period."""
        rows = tuple(self._rows(_TOP, kind, most))
        [*sums, names] = self._select(_SUMS, kind)[0]
        shown = [sum(row.counts[column] for row in rows) for column in _COLUMNS.values()]
        others = ((total or 0) - among for total, among in zip(sums, shown, strict=True))
        return Table(rows, Counts(*others), names)

    def new(self, kind: str, most: int) -> tuple[Row, ...]:
        """The names with most decisions of the period among those that had none before."""
        return tuple(self._rows(_NEW, kind, most))

    def _rows(self, query: str, kind: str, most: int) -> Iterator[Row]:
        for name, accepted, deferred, refused, before in self._select(query, kind, most):
            yield Row(name, Counts(accepted, deferred, refused), before)

    def _select(self, query: str, *values: Any) -> list[Any]:
        self._spill()
        return self._scratch.execute(query, values).fetchall()

    def _spill(self) -> None:
        # In the order in which they lie in the table.
        names = sorted({name for counts in self._counts for name in counts})
        rows = ((*name, *(counts.get(name, 0) for counts in self._counts)) for name in names)
        self._scratch.execute("BEGIN")
        self._scratch.executemany(_ADD, rows)
        self._scratch.execute("COMMIT")
        for counts in self._counts:
            counts.clear()
