# SPDX-License-Identifier: MIT
"""MySQL and MariaDB: recipients in a database (see logins/mysql.py for the rest).

Each recipient has a connection of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qpsmtpd.logins.mysql import Ask, IncomparableError, MySqlAccess, Talk, as_number
from qpsmtpd.plugin.services import Services
from qpsmtpd.recipients.databases import Query, says_yes
from qpsmtpd.recipients.table import TableKey


@dataclass(frozen=True)
class MySqlTable:
    """A query on a server."""

    access: MySqlAccess
    query: Query
    services: Services

    def __str__(self) -> str:
        return str(self.access.server)

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Raises ScannerError."""
        talk = Talk(self.access)
        try:
            return await self.services.run_blocking(self._has_any, talk, keys)
        finally:
            talk.give_up()

    async def close(self) -> None:
        """Nothing stays open."""

    def _has_any(self, talk: Talk, keys: Sequence[TableKey]) -> bool:
        with talk.asking() as ask:
            return any(self._has(ask, key) for key in keys)

    def _has(self, ask: Ask, key: TableKey) -> bool:
        values = self.query.values(key)
        try:
            rows = ask(self.query.text(lambda n: as_number(values[n - 1])))
        except IncomparableError:
            # ASCII can be compared with everything; other characters are not in such a column.
            if key.address.isascii():
                raise
            return False
        return says_yes(_columns(rows[0]) if rows else None)


def _columns(row: Mapping[str, Any]) -> list[Any]:
    """The columns of a row; those of the type BIT, which come as octets, as numbers."""
    return [_as_number(value) if isinstance(value, bytes) else value for value in row.values()]


def _as_number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")
