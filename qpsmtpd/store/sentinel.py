# SPDX-License-Identifier: MIT
"""Sentinels: finds the master that Redis Sentinels have chosen.

As their documentation has it for clients: they are asked in turn, each for a short time; the one
that answers is asked first the next time; and the server that it names has to say itself that it is
the master.  One whose master is none is asked last the next time, for it may be cut off from the
others.  When the master changes, Sentinels end the connections to the old one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qpsmtpd.errors import StoreError
from qpsmtpd.store.location import Address, RedisLocation
from qpsmtpd.store.redisnode import connected, disconnect, said_by

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


class Sentinels:
    """The Sentinels of one location."""

    def __init__(self, location: RedisLocation, timeout: float) -> None:
        """`timeout`: seconds in which the master has to be found and connected to."""
        self._location = location
        self._timeout = timeout
        self._addresses = list(location.addresses)

    async def connected(self) -> AbstractConnection:
        """An open connection to the master.  Raises StoreError, and what `connected` raises."""
        sentinel, master = await self._find()
        connection = await connected(self._location, master, self._timeout)
        try:
            await _check_role(connection, master)
        except BaseException:
            self._addresses.remove(sentinel)
            self._addresses.append(sentinel)
            await disconnect(connection, self._timeout)
            raise
        return connection

    async def _find(self) -> tuple[Address, Address]:
        """The Sentinel that answers, and the master that it names."""
        problems = []
        for sentinel in tuple(self._addresses):
            try:
                # A part of the time is for the master.
                async with asyncio.timeout(self._timeout / (len(self._addresses) + 1)):
                    master = await ask_sentinel(self._location, sentinel, self._timeout)
            except TimeoutError:
                problems.append(f"{sentinel} does not answer")
            except StoreError as error:
                problems.append(f"{sentinel}: {error}")
            else:
                self._addresses.remove(sentinel)
                self._addresses.insert(0, sentinel)
                return sentinel, master
        raise StoreError(f"no Sentinel names a master: {'; '.join(problems)}")


async def ask_sentinel(location: RedisLocation, sentinel: Address, timeout: float) -> Address:
    """The master that a Sentinel names.  Raises StoreError.  timeout: to wait for its end."""
    from redis.exceptions import RedisError

    of_sentinels = replace(
        location,
        db=0,
        user=location.sentinel_user,
        password="",
        password_file=location.sentinel_password_file,
    )
    try:
        connection = await connected(of_sentinels, sentinel, timeout)
        try:
            await connection.send_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", location.service, check_health=False
            )
            return _master_in(await connection.read_response(), location.service)
        finally:
            await disconnect(connection, timeout)
    except (RedisError, OSError, ValueError) as error:
        raise StoreError(said_by(error)) from error


def _master_in(reply: Any, service: str) -> Address:
    match reply:
        case [bytes() as host, bytes() as port] if port.isdigit() and len(port) <= 5:
            return Address(host.decode(errors="replace"), int(port))
        case None:
            raise StoreError(f"knows no master with the name {service}")
    raise StoreError("its reply does not name a master")


async def _check_role(connection: AbstractConnection, master: Address) -> None:
    await connection.send_command("ROLE", check_health=False)
    match await connection.read_response():
        case [b"master", *_]:
            return
    raise StoreError(f"{master}, which Sentinels name, is not the master now")
