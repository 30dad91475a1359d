# SPDX-License-Identifier: MIT
"""Several of Debian's redis-servers that belong together: with Sentinels, and as a Cluster."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.ports import free_port
from tests.redis_server import RedisServer

Arguments = ParamSpec("Arguments")
ServerT = TypeVar("ServerT", bound=RedisServer)

#: What Sentinels call the master.
SERVICE = "mail"
SLOTS = 16384
#: Seconds for a group to agree on something, on a busy machine.
PATIENCE = 60.0
_ATTEMPTS = 5  # somebody else may take a port that was free


class Sentinel(RedisServer):
    """One that watches a master."""

    ready = "+monitor master"

    def __init__(
        self, directory: Path, master: RedisServer, quorum: int, more: Sequence[str] = ()
    ) -> None:
        super().__init__(directory, port=free_port())
        self._file = directory / "sentinel.conf"
        lines = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} {quorum}",
            # On a busy machine nobody is to be down who is only slow.
            f"sentinel down-after-milliseconds {SERVICE} 2000",
            f"sentinel failover-timeout {SERVICE} 5000",
            *more,
        )
        self._file.write_text("".join(f"{line}\n" for line in lines))

    @property
    def _first(self) -> Sequence[str]:
        return (str(self._file), "--sentinel")


@dataclass
class SentinelGroup:
    """A master, its replicas, and the Sentinels that watch them."""

    servers: list[RedisServer]
    sentinels: list[Sentinel]

    @property
    def url(self) -> str:
        """What the file `store` says of it."""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}"

    @property
    def master(self) -> RedisServer:
        """The one that says so itself; there are two for a moment while it changes."""
        until(lambda: len(self._masters()) == 1)
        return self._masters()[0]

    def _masters(self) -> list[RedisServer]:
        return [server for server in self._running() if _says(server, "role:master")]

    def complete(self) -> None:
        """Wait until the Sentinels know each other, and that all replicas can be masters."""
        replicas = len(self._running()) - 1
        for sentinel in self.sentinels:
            until(_knows, sentinel, f"slaves={replicas},sentinels={len(self.sentinels)}")
        for server in self._running():
            until(_says, server, "role:master", "master_link_status:up")

    def caught_up(self) -> None:
        """Wait until the replicas have what was written so far."""
        master = self.master
        for server in self._running():
            if server is not master:
                caught_up(master, server)

    def _running(self) -> list[RedisServer]:
        return [server for server in self.servers if server.running]


def _knows(sentinel: RedisServer, text: str) -> bool:
    return text in sentinel.ask("INFO", "sentinel")


def _agrees(node: RedisServer, text: str) -> bool:
    return text in node.ask("CLUSTER", "INFO")


def _follows(replica: RedisServer, master: str) -> bool:
    return replica.command("CLUSTER", "REPLICATE", master) == "+OK"


def caught_up(master: RedisServer, replica: RedisServer) -> None:
    """Wait until a replica has what was written so far."""
    written = _offset(master, "master_repl_offset")
    until(lambda: _offset(replica, "slave_repl_offset") >= written)


def _offset(server: RedisServer, name: str) -> int:
    lines = server.ask("INFO", "replication").split("\r\n")
    return int(next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2])


def _says(server: RedisServer, *lines: str) -> bool:
    said = server.ask("INFO", "replication")
    return any(line in said for line in lines)


@contextmanager
def sentinel_group(
    replicas: int = 1,
    watchers: int = 3,
    server: Sequence[str] = (),
    sentinel: Sequence[str] = (),
    passwords: tuple[str, str] = ("", ""),
) -> Iterator[SentinelGroup]:
    """A group in which everybody knows the others.

    server, sentinel: more of their settings.  passwords: what these make of either's password.
    """
    with ExitStack() as stack:
        master = _started(stack, lambda made: RedisServer(made, server, free_port()))
        follow = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
        servers = [master] + [
            _started(stack, lambda made: RedisServer(made, (*follow, *server), free_port()))
            for _ in range(replicas)
        ]
        quorum = watchers // 2 + 1
        sentinels = [
            _started(stack, lambda made: Sentinel(made, master, quorum, sentinel))
            for _ in range(watchers)
        ]
        for one in servers:
            one.password = passwords[0]
        for other in sentinels:
            other.password = passwords[1]
        group = SentinelGroup(servers, sentinels)
        group.complete()
        yield group


class ClusterNode(RedisServer):
    """A server that can be a part of a Cluster."""

    def __init__(self, directory: Path, more: Sequence[str] = ()) -> None:
        self.bus = free_port()
        settings = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
            *("--cluster-node-timeout", "3000", "--repl-diskless-sync-delay", "0"),
        )
        super().__init__(directory, (*settings, *more), free_port())

    @property
    def id(self) -> str:
        """Its name in the Cluster."""
        return self.ask("CLUSTER", "MYID")


@dataclass
class Cluster:
    """Masters that have the slots between them, and replicas: of the first master first."""

    masters: list[ClusterNode]
    replicas: list[ClusterNode]

    @property
    def url(self) -> str:
        """What the file `store` says of it."""
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.masters)
        return f"redis+cluster://{places}"

    @property
    def servers(self) -> list[ClusterNode]:
        return [*self.masters, *self.replicas]

    def owner(self, slot: int) -> ClusterNode:
        """The master that had a slot at the beginning."""
        bounds = _bounds(len(self.masters))
        return next(
            master
            for master, (first, end) in zip(self.masters, bounds, strict=True)
            if first <= slot < end
        )

    def agreed(self, text: str = "cluster_state:ok") -> None:
        """Wait until all that run say so."""
        for server in self.servers:
            if server.running:
                until(_agrees, server, text)

    def complete(self) -> None:
        """Wait until all know all, and that the Cluster works."""
        self.agreed(f"cluster_known_nodes:{len(self.servers)}")
        self.agreed()


@contextmanager
def redis_cluster(
    masters: int = 3, replicas: int = 0, more: Sequence[str] = ()
) -> Iterator[Cluster]:
    """A Cluster that works.  more: arguments of its servers."""
    with ExitStack() as stack:
        servers = [_started(stack, lambda made: ClusterNode(made, more)) for _ in range(masters)]
        followers = [_started(stack, lambda made: ClusterNode(made, more)) for _ in range(replicas)]
        cluster = Cluster(servers, followers)
        ports = (str(servers[0].port), str(servers[0].bus))
        for number, server in enumerate(cluster.servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            server.command("CLUSTER", "MEET", "127.0.0.1", *ports)
        for server, (first, end) in zip(servers, _bounds(masters), strict=True):
            server.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
        cluster.complete()
        for number, follower in enumerate(followers):
            name = servers[number % masters].id
            until(_follows, follower, name)
            until(_says, follower, "master_link_status:up")
        yield cluster


def _bounds(masters: int) -> list[tuple[int, int]]:
    return list(pairwise(SLOTS * number // masters for number in range(masters + 1)))


def _started(stack: ExitStack, make: Callable[[Path], ServerT]) -> ServerT:
    """A running server in a directory of its own."""
    for attempt in range(_ATTEMPTS):
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="qpsmtpd-redis-"))
        server = make(Path(directory))
        stack.callback(server.kill)
        try:
            server.start()
        except RuntimeError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return server
    raise AssertionError


def until(
    condition: Callable[Arguments, bool], *args: Arguments.args, **kw: Arguments.kwargs
) -> None:
    """Wait until this is so."""
    end = time.monotonic() + PATIENCE
    while not condition(*args, **kw):
        assert time.monotonic() < end, "they do not agree"
        time.sleep(0.02)
