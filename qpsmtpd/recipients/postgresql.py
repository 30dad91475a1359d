# SPDX-License-Identifier: MIT
"""PostgreSQL: recipients in a database, over a few connections that stay open.

The library (python3-asyncpg) is imported only when it is used, being optional.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from qpsmtpd.errors import words_of
from qpsmtpd.recipients.databases import PostgreSqlServer, Query, says_yes
from qpsmtpd.recipients.table import TableKey
from qpsmtpd.scanners.wire import ScannerError


def is_installed() -> bool:
    """Whether the library is there."""
    return find_spec("asyncpg") is not None


class PostgreSqlTable:
    """A query on a server."""

    def __init__(
        self,
        server: PostgreSqlServer,
        query: Query,
        *,
        password: str,
        context: ssl.SSLContext | None,
        timeout: float,
    ) -> None:
        """Nothing is opened yet.

        password: "" for none.  context: of TLS, None for no TLS.  timeout: seconds for connecting,
        and for each answer.
        """
        self._server = server
        self._query = query
        # Without a type the server would have to guess that of `%u || '@'`.
        self._text = query.text(lambda n: f"${n}::text")
        self._password = password
        self._context = context
        self._timeout = timeout
        self._idle: list[Any] = []
        self._closed = False

    def __str__(self) -> str:
        return str(self._server)

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Raises ScannerError."""
        connection = self._idle_one() or await self._connect()
        fine = False
        try:
            found = await self._has_any(connection, keys)
            fine = True
        finally:
            if fine and not self._closed:
                self._idle.append(connection)
            else:
                connection.terminate()
        return found

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        while self._idle:
            self._idle.pop().terminate()

    def _idle_one(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> Any:
        import asyncpg

        server = self._server
        try:
            return await asyncpg.connect(
                host=server.host,
                port=server.port,
                user=server.user,
                database=server.database,
                password=self._password,
                ssl=self._context or False,
                # Who asks has a deadline, which comes first.
                timeout=self._timeout + 1,
                command_timeout=self._timeout + 1,
                # Prepared statements do not survive a proxy such as pgbouncer.
                statement_cache_size=0,
                server_settings={"application_name": "qpsmtpd"},
            )
        except OSError as error:
            raise ScannerError(f"cannot connect: {words_of(error)}", unreachable=True) from None
        except Exception as error:
            # Of any kind: this is the library's, on what a server says that may have gone mad.
            raise ScannerError(f"cannot log in: {_said(error)}") from None

    async def _has_any(self, connection: Any, keys: Sequence[TableKey]) -> bool:
        try:
            for key in keys:
                if says_yes(await connection.fetchrow(self._text, *self._query.values(key))):
                    return True
        except Exception as error:
            raise ScannerError(f"the database fails: {_said(error)}") from None
        return False


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
