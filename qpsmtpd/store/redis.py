# SPDX-License-Identifier: MIT
"""RedisBackend: the store of several machines, on a Redis or Valkey server.

A batch is sent as a whole, on one connection, and then its replies are read.  Nearly everything is
a script, which the server runs as a whole.  Which server that is may be for Sentinels to say: they
are asked whenever a connection is made.

Entries end by the server's clock.  If that jumps ahead they are gone; if it is set back, see
redisentries.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from qpsmtpd.errors import StoreError
from qpsmtpd.store.location import RedisLocation
from qpsmtpd.store.operation import Operation
from qpsmtpd.store.redisentries import answer_of, command_of
from qpsmtpd.store.redisnode import Connect, Node, connected
from qpsmtpd.store.sentinel import Sentinels


class RedisBackend:
    """Implements guard.Backend."""

    def __init__(self, location: RedisLocation, timeout: float) -> None:
        """`timeout`: seconds that an answer may take."""
        self.place = str(location)
        self._node = Node(location, timeout, _connect(location, timeout))

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        """Carry out operations in one exchange."""
        replies = await self._node.exchange([command_of(operation) for operation in batch])
        for reply in replies:
            if isinstance(reply, StoreError):
                # It may be because of who we are there, or because that is not the master.
                self._node.abandon()
                raise reply
        return [answer_of(*pair) for pair in zip(batch, replies, strict=True)]

    async def close(self) -> None:
        """Close the connection."""
        await self._node.close()


def _connect(location: RedisLocation, timeout: float) -> Connect:
    if location.service:
        return Sentinels(location, timeout).connected
    address = location.addresses[0] if location.addresses else None
    return partial(connected, location, address, timeout)
