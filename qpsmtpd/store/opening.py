# SPDX-License-Identifier: MIT
"""SharedStore: the store of one configuration, made of what the file `store` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.cluster import ClusterBackend
from qpsmtpd.store.guard import Backend, Guard
from qpsmtpd.store.location import Location, RedisLocation
from qpsmtpd.store.redis import RedisBackend
from qpsmtpd.store.sqlite import SqliteBackend
from qpsmtpd.store.view import StoreClient

#: The file of a machine whose configuration names no store.
FILE_NAME = "store.sqlite"


class SharedStore(StoreClient):
    """A store that has to be closed.  Nothing is opened before it is used."""

    def __init__(self, backend: Backend, timeout: float) -> None:
        """`timeout`: the most seconds that anybody waits."""
        self._guard = Guard(backend, timeout)
        #: Carries out one operation.
        self.ask = self._guard.ask
        super().__init__(self.ask)

    async def close(self) -> None:
        """Close what was opened."""
        await self._guard.close()


def shared_store(location: Location, timeout: float, *, read_only: bool = False) -> SharedStore:
    """The store at this location; `read_only`: a file is neither made nor changed."""
    if not isinstance(location, RedisLocation):
        backend = SqliteBackend(location, timeout, Clock(), read_only=read_only)
        return SharedStore(backend, timeout)
    if location.cluster:
        return SharedStore(ClusterBackend(location, timeout, Clock()), timeout)
    return SharedStore(RedisBackend(location, timeout), timeout)


def default_location(environment: Mapping[str, str], spool_dir: Path) -> Path:
    """Where the store is by default: where systemd lets us keep state, or in the spool."""
    # systemd separates several directories by colons; ours has one.
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(state or spool_dir) / FILE_NAME
