# SPDX-License-Identifier: MIT
"""SQLite: recipients in a file, which is opened for reading only, for each recipient anew.

So a file that somebody replaces is seen at once.  Opening it costs 0.1 ms.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from qpsmtpd.plugin.services import Services
from qpsmtpd.recipients.databases import Query, says_yes
from qpsmtpd.recipients.table import TableKey
from qpsmtpd.scanners.wire import ScannerError

#: Instructions of SQLite's machine after which the time is looked at.
_INSTRUCTIONS = 10_000


class SqliteTable:
    """A query on a file."""

    def __init__(self, path: Path, query: Query, services: Services, timeout: float) -> None:
        """timeout: seconds for which it waits for others, and for which the query may run."""
        self._path = path
        self._query = query
        self._text = query.text(lambda _n: "?")
        self._services = services
        self._timeout = timeout

    def __str__(self) -> str:
        return str(self._path)

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Raises ScannerError."""
        return await self._services.run_blocking(self._find, keys)

    async def close(self) -> None:
        """Nothing stays open."""

    def _find(self, keys: Sequence[TableKey]) -> bool:
        end = time.monotonic() + self._timeout
        try:
            url = f"file:{quote(str(self._path))}?mode=ro"
            with closing(sqlite3.connect(url, uri=True, timeout=self._timeout)) as connection:
                connection.set_progress_handler(lambda: time.monotonic() > end, _INSTRUCTIONS)
                return any(self._has(connection, key) for key in keys)
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise ScannerError(f"the database fails: {error}") from None

    def _has(self, connection: sqlite3.Connection, key: TableKey) -> bool:
        return says_yes(connection.execute(self._text, self._query.values(key)).fetchone())
