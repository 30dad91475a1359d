# SPDX-License-Identifier: MIT
"""RedisBackend: the store of several machines, on a Redis or Valkey server.

A batch is sent as a whole, on one connection, and then its replies are read.  Nearly everything is
a script, which the server runs as a whole.  A call that was cancelled (its deadline has passed) may
have left replies on their way: the connection is never used again.  One that was lost while idle is
replaced once; in the rare case that the server had carried out the batch already, its increments
count twice.

Entries end by the server's clock.  If that jumps ahead they are gone; if it is set back, see _LOOK.

Of python3-redis only the connections are used: its clients, with their pools and retries, take
four times as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qpsmtpd.errors import StoreError
from qpsmtpd.store.location import RedisLocation
from qpsmtpd.store.operation import (
    PAGE,
    Add,
    Count,
    Delete,
    Get,
    Increment,
    Operation,
    Page,
    Put,
    Replace,
    Scan,
)

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

#: Before every name, as other programs may use the same server; and the version of the entries.
PREFIX = b"qpsmtpd|2|"

#: An entry is a hash: v is its value, t the milliseconds that it lives.  When the server's clock
#: was ahead and has been set right, an entry has longer to live than it ever should have: it then
#: gets its whole time once more.
_LOOK = """
local left = redis.call('PTTL', KEYS[1])
local entry = redis.call('HMGET', KEYS[1], 'v', 't')
if entry[2] and (left < 0 or left > tonumber(entry[2])) then
  redis.call('PEXPIRE', KEYS[1], entry[2])
end
"""
_WRITE = """
local function write(value, ttl)
  redis.call('HSET', KEYS[1], 'v', value, 't', ttl)
  redis.call('PEXPIRE', KEYS[1], ttl)
end
"""
_GET = f"{_LOOK} return entry[1]"
_PUT = f"{_WRITE} write(ARGV[1], ARGV[2])"
_ADD = f"{_LOOK} {_WRITE} if not entry[1] then write(ARGV[1], ARGV[2]) end return entry[1]"
_REPLACE = f"""{_LOOK} {_WRITE}
if entry[1] == ARGV[1] then write(ARGV[2], ARGV[3]) end
return entry[1]
"""
_INCREMENT = f"""{_LOOK} {_WRITE}
if entry[1] then return redis.call('HINCRBY', KEYS[1], 'v', ARGV[1]) end
write(ARGV[1], ARGV[2])
return tonumber(ARGV[1])
"""


#: A cursor, then names and values.
_SCAN = f"""
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', {PAGE})
local answer = {{page[1]}}
for _, name in ipairs(page[2]) do
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGET', name, 'v') or ''
end
return answer
"""
_special = re.compile(rb"[\\*?\[\]^-]")


class RedisBackend:
    """Implements guard.Backend."""

    def __init__(self, location: RedisLocation, timeout: float) -> None:
        """`timeout`: seconds to wait for a connection to end."""
        self.place = str(location)
        self._location = location
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        #: A connection whose next reply could be to anything.
        self._abandoned: AbstractConnection | None = None

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        """Carry out operations in one exchange."""
        from redis.exceptions import ConnectionError as ConnectionLostError
        from redis.exceptions import RedisError

        reused = self._connection is not None
        try:
            try:
                return await self._exchange(batch)
            except (ConnectionLostError, OSError):
                if not reused:
                    raise
                # Servers, and what lies between, close idle connections.
                return await self._exchange(batch)
        except (RedisError, OSError) as error:
            raise StoreError(_reason(error)) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._disconnect()
        self._abandoned, self._connection = self._connection, None
        await self._disconnect()

    async def _exchange(self, batch: Sequence[Operation]) -> list[Any]:
        connection = await self._connected()
        commands = connection.pack_commands([_command(operation) for operation in batch])
        try:
            await connection.send_packed_command(commands)
            return [_answer(operation, await connection.read_response()) for operation in batch]
        except BaseException:
            self._abandoned, self._connection = connection, None
            raise

    async def _connected(self) -> AbstractConnection:
        if self._connection is None:
            await self._disconnect()
            connection: Any = _connection(self._location)
            self._abandoned = connection
            await connection.connect()
            self._connection, self._abandoned = connection, None
        return self._connection

    async def _disconnect(self) -> None:
        """Close what must not be used any more; what goes wrong with that does not matter."""
        connection, self._abandoned = self._abandoned, None
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._timeout):
                    await connection.disconnect()


def _connection(location: RedisLocation) -> AbstractConnection:
    """A connection that is not open yet, and that never retries anything."""
    from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    common: dict[str, Any] = {
        "db": location.db,
        "username": location.user or None,
        "password": location.password or None,
        "retry": Retry(NoBackoff(), 0),
        # The guard keeps the deadline.
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    if location.socket:
        return UnixDomainSocketConnection(path=location.socket, **common)
    common |= {"host": location.host, "port": location.port}
    if location.tls:
        certificates = location.ca_file or None
        return SSLConnection(ssl_check_hostname=True, ssl_ca_certs=certificates, **common)
    return Connection(**common)


def _command(operation: Operation) -> tuple[Any, ...]:
    name = PREFIX + operation.name
    match operation:
        case Get() | Count():
            return "EVAL", _GET, 1, name
        case Put(_, value, ttl):
            return "EVAL", _PUT, 1, name, value, _milliseconds(ttl)
        case Add(_, value, ttl):
            return "EVAL", _ADD, 1, name, value, _milliseconds(ttl)
        case Replace(_, old, value, ttl):
            return "EVAL", _REPLACE, 1, name, old, value, _milliseconds(ttl)
        case Delete():
            return "DEL", name
        case Scan(_, cursor):
            pattern = _special.sub(rb"\\\g<0>", name) + b"*"
            return "EVAL", _SCAN, 0, cursor or b"0", pattern
        case Increment(_, by, ttl):
            return "EVAL", _INCREMENT, 1, name, by, _milliseconds(ttl)


def _answer(operation: Operation, answer: Any) -> Any:
    match operation:
        case Get() | Add() | Replace():
            return answer
        case Increment() | Count():
            return int(answer or 0)
        case Scan():
            return _page(answer)
    return None


def _page(answer: Sequence[bytes]) -> Page:
    cursor, *rest = answer
    pairs = zip(rest[::2], rest[1::2], strict=True)
    entries = tuple((name.removeprefix(PREFIX), value) for name, value in pairs)
    return Page(entries, b"" if cursor == b"0" else cursor)


def _reason(error: Exception) -> str:
    """What went wrong; what the library makes of an OSError says less than the error itself."""
    return str(error.__context__ if isinstance(error.__context__, OSError) else error)


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1000))
