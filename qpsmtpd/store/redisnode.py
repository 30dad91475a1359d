# SPDX-License-Identifier: MIT
"""Node: one server of Redis or Valkey, and the one connection to it.

Commands are sent as a whole, and then their replies are read.  A call that was cancelled (its
deadline has passed) may have left replies on their way: the connection is never used again.  One
that was lost while idle, or whose server is not the master any more, is replaced once; in the rare
case that the server had carried out the commands already, their increments count twice.

Of python3-redis only the connections are used: its clients, with their pools and retries, take
four times as long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsmtpd.errors import StoreError
from qpsmtpd.nexthop.hopauth import read_password
from qpsmtpd.store.location import Address, RedisLocation
from qpsmtpd.store.redisentries import Command

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

#: Makes a connection that is open and ready, and may take the address from somewhere.
Connect = Callable[[], Awaitable["AbstractConnection"]]

#: What the library leaves out of the texts of errors, in some of its versions.
_CODES = {
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "NoPermissionError": "NOPERM",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "OutOfMemoryError": "OOM",
}


class Node:
    """A server; nothing is opened before it is used."""

    def __init__(self, location: RedisLocation, timeout: float, connect: Connect) -> None:
        """`timeout`: seconds to wait for a connection to end."""
        self._location = location
        self._timeout = timeout
        self._connect = connect
        self._connection: AbstractConnection | None = None
        #: A connection whose next reply could be to anything.
        self._abandoned: AbstractConnection | None = None

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands; the replies in order, a refused command's being a StoreError.

        Raises StoreError if there is no server, or none that is the master.
        """
        from redis.exceptions import ConnectionError as ConnectionLostError
        from redis.exceptions import ReadOnlyError, RedisError

        reused = self._connection is not None
        try:
            try:
                return await self._exchange(commands)
            except (ConnectionLostError, ReadOnlyError, OSError):
                if not reused:
                    raise
                # Servers, and what lies between, close idle connections; masters change.
                return await self._exchange(commands)
        except (RedisError, OSError, ValueError) as error:
            raise StoreError(said_by(error)) from error

    def abandon(self) -> None:
        """Use another connection from now on."""
        if self._connection is not None:
            self._abandoned, self._connection = self._connection, None

    async def close(self) -> None:
        """Close the connection."""
        await self._disconnect()
        self.abandon()
        await self._disconnect()

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        if self._connection is None:
            await self._disconnect()
            self._connection = await self._connect()
        try:
            await self._connection.send_packed_command(self._connection.pack_commands(commands))
            return [await _reply(self._connection) for _ in commands]
        except BaseException:
            self.abandon()
            raise

    async def _disconnect(self) -> None:
        """Close what must not be used any more."""
        connection, self._abandoned = self._abandoned, None
        if connection is not None:
            await disconnect(connection, self._timeout)


async def _reply(connection: AbstractConnection) -> Any:
    """The next reply.  Raises what means that this connection is of no use."""
    from redis.exceptions import ReadOnlyError, ResponseError

    try:
        return await connection.read_response()
    except ReadOnlyError:
        raise
    except ResponseError as error:
        return StoreError(said_by(error))


async def connected(
    location: RedisLocation, address: Address | None, timeout: float
) -> AbstractConnection:
    """An open connection to this address, or to the socket.

    Raises errors of python3-redis, OSError, and ValueError for a password file that is wrong.
    timeout: seconds to wait for its end, if nothing comes of it.
    """
    connection = _connection(location, address)
    untyped: Any = connection
    try:
        await untyped.connect()
    except BaseException:
        await disconnect(connection, timeout)
        raise
    return connection


async def disconnect(connection: AbstractConnection, timeout: float) -> None:
    """Close a connection; what goes wrong with that does not matter."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(timeout):
            await connection.disconnect()


def said_by(error: BaseException) -> str:
    """What went wrong: as the server said it, with the code at the beginning.

    What the library makes of an OSError says less than the error itself.
    """
    if isinstance(error.__context__, OSError):
        error = error.__context__
    text = str(error) or type(error).__name__
    code = _CODES.get(type(error).__name__, "")
    return f"{code} {text}" if code and not text.startswith(code) else text


def _connection(location: RedisLocation, address: Address | None) -> AbstractConnection:
    """A connection that is not open yet, and that never retries anything."""
    from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    common: dict[str, Any] = {
        "db": location.db,
        "username": location.user or None,
        "password": _password(location),
        "retry": Retry(NoBackoff(), 0),
        # The guard keeps the deadline.
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    if address is None:
        return UnixDomainSocketConnection(path=location.socket, **common)
    common |= {"host": address.host, "port": address.port}
    if not location.tls:
        return Connection(**common)
    return SSLConnection(
        ssl_check_hostname=True,
        ssl_ca_certs=location.ca_file or None,
        ssl_certfile=location.certificate or None,
        ssl_keyfile=location.key or None,
        **common,
    )


def _password(location: RedisLocation) -> str | None:
    """It is read for each connection: a new one counts without a reload."""
    if not location.password_file:
        return location.password or None
    try:
        return read_password(Path(location.password_file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{location.password_file}: {reason}") from None
