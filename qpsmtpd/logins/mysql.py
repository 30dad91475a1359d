# SPDX-License-Identifier: MIT
"""MySQL and MariaDB: one query over a connection of its own, in a thread.

The library (python3-pymysql) blocks; when the time is up its connection is shut down, which ends
whatever it waits for.  It is imported only when it is used, being optional.

The library believes a server that says it has no TLS, and goes on in the clear; and it sends the
password to a server that asks for it.  Neither happens here: where TLS is wanted, nothing but the
wish for it is sent before the handshake, the password is not even there to be read, and no result
of a server without it counts; and what would show the password is refused.

Values never become text of a query: they are written as hexadecimal numbers.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from qpsmtpd.errors import words_of
from qpsmtpd.scanners.wire import ScannerError

PORT = 3306

#: Where Debian's MariaDB and MySQL have their socket.
SOCKET = "/run/mysqld/mysqld.sock"

#: Authentication plugins that the library knows and that show the password, or as good as that.
_REFUSED = ("mysql_clear_password", "dialog", "mysql_old_password")

#: Error of a server that cannot compare a value with a column, as that has another character set
#: (ER_CANT_AGGREGATE_2COLLATIONS).
_INCOMPARABLE = 1267


@dataclass(frozen=True, slots=True)
class MySqlServer:
    """host: a name, an address, or the path of a Unix socket."""

    host: str
    port: int
    database: str
    user: str

    @property
    def is_socket(self) -> bool:
        """Whether it is asked by a Unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = host if self.is_socket else f"{host}:{self.port}"
        return f"mysql {place} {self.database}"


@dataclass(frozen=True, slots=True)
class MySqlAccess:
    """What it takes to ask a server.

    context: of TLS, which the server then has to have; None for no TLS.
    timeout: seconds for connecting, and for each wait.
    """

    server: MySqlServer
    password: str = field(repr=False)
    context: ssl.SSLContext | None
    timeout: float


def is_installed() -> bool:
    """Whether the library is there."""
    return find_spec("pymysql") is not None


def as_number(text: str) -> str:
    """A value as an expression of SQL, in which it can be nothing but a value."""
    return f"_utf8mb4 0x{text.encode().hex()}" if text else "''"


class IncomparableError(ScannerError):
    """The server cannot compare a value with a column, whose character set does not have it."""


#: The rows of the result of a query, as columns by name.  It blocks.  Raises ScannerError.
Ask = Callable[[str], Sequence[dict[str, Any]]]


class Talk:
    """Some queries, in a thread.  `give_up` may be called by another."""

    def __init__(self, access: MySqlAccess) -> None:
        self._access = access
        # TLS takes over the descriptor of a socket, but not that of its copy.
        self._copy: socket.socket | None = None
        self._given_up = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[Ask]:
        """What asks the server while the block lasts; it blocks.  Raises ScannerError."""
        wire = _opened(self._access.server, self._access.timeout)
        try:
            with wire, wire.dup() as self._copy:
                yield from self._logged_in(wire)
        except ScannerError:
            raise
        except Exception as error:
            # Of any kind: this is the library's, on what a server says that may have gone mad.
            raise ScannerError(f"the database fails: {_said(error)}") from None

    def give_up(self) -> None:
        """End the connection, so that nothing waits for it any more."""
        self._given_up = True
        if self._copy is not None:
            with contextlib.suppress(OSError):
                self._copy.shutdown(socket.SHUT_RDWR)

    def _logged_in(self, wire: socket.socket) -> Iterator[Ask]:
        if self._given_up:
            raise ScannerError("took too long")
        connection = _prepared(self._access)
        try:
            connection.connect(wire)
            connection.check_tls()
            yield functools.partial(_rows, connection)
        finally:
            # First, or the library would say good-bye to somebody who may not listen.
            self.give_up()
            with contextlib.suppress(Exception):
                connection.close()


def _opened(server: MySqlServer, timeout: float) -> socket.socket:
    """A socket that is connected.  Raises ScannerError."""
    wire = None
    try:
        if not server.is_socket:
            return socket.create_connection((server.host, server.port), timeout)
        wire = socket.socket(socket.AF_UNIX)
        wire.settimeout(timeout)
        wire.connect(server.host)
    except OSError as error:
        if wire is not None:
            wire.close()
        raise ScannerError(f"cannot connect: {words_of(error)}", unreachable=True) from None
    return wire


def _prepared(access: MySqlAccess) -> Any:
    """A connection of the library that is not yet open."""
    server, context = access.server, access.context
    connection = _guarded()(
        host=server.host,
        user=server.user,
        database=server.database,
        charset="utf8mb4",
        autocommit=None,
        read_timeout=access.timeout,
        write_timeout=access.timeout,
        auth_plugin_map=dict.fromkeys(_REFUSED, _Refused),
        defer_connect=True,
        **({"ssl": context} if context else {"ssl_disabled": True}),
    )
    connection.secret = access.password.encode()
    connection.must_have_tls = context is not None
    return connection


@functools.cache
def _guarded() -> Any:
    """The library's connection, which shows the password only where that is safe."""
    from pymysql.connections import Connection
    from pymysql.constants import CLIENT

    class Guarded(Connection):  # type: ignore[misc, unused-ignore]
        secret = b""
        must_have_tls = False

        @property
        def password(self) -> bytes:
            if self.secret:
                self.check_tls()
            return self.secret

        @password.setter
        def password(self, value: object) -> None:
            """What the library sets itself does not count."""

        def check_tls(self) -> None:
            # A library that keeps its socket elsewhere is one that we do not know.
            wire = getattr(self, "_sock", None)
            in_effect = isinstance(wire, ssl.SSLSocket) and wire.version() is not None
            if self.must_have_tls and not in_effect:
                raise ScannerError("does not have TLS")

        def _request_authentication(self) -> None:
            if self.must_have_tls and not self.server_capabilities & CLIENT.SSL:
                raise ScannerError("does not have TLS")
            super()._request_authentication()

    return Guarded


class _Refused:
    """An authentication plugin that a server cannot talk us into."""

    def __init__(self, connection: object) -> None:
        """The library passes its connection."""

    def authenticate(self, packet: object) -> None:
        """Does not."""
        raise ScannerError("wants the password in the clear")


def _rows(connection: Any, query: str) -> Sequence[dict[str, Any]]:
    from pymysql.cursors import DictCursor
    from pymysql.err import MySQLError

    cursor = connection.cursor(DictCursor)
    try:
        cursor.execute(query)
    except MySQLError as error:
        if error.args[:1] == (_INCOMPARABLE,):
            raise IncomparableError(_said(error)) from None
        raise
    rows: Sequence[dict[str, Any]] = cursor.fetchall()
    return rows


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
