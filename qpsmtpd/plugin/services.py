# SPDX-License-Identifier: MIT
"""Services: what the daemon lends to plugins.  They are passed in, so that tests can lend fakes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from qpsmtpd.mail.session import Recipient
from qpsmtpd.plugin.blocking import BlockingPool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a configuration file; `where` is "FILE:LINE" for messages about it."""

    text: str
    where: str = ""

    def __str__(self) -> str:
        return self.text


#: Types of DNS records that can be looked up.
RecordType = Literal["A", "AAAA", "MX", "NS", "PTR", "TXT"]


class DnsAnswer(NamedTuple):
    """What the DNS says about a name and a record type.

    records: the data, as the method of that type returns them.
    name_exists: False when there is no such name (NXDOMAIN); a name without these records, and an
    alias of a name that does not exist, exists.
    """

    records: tuple[Any, ...]
    name_exists: bool


class Resolver(Protocol):
    """Asks the DNS.  Every method raises DnsError when nobody knows.

    That there is nothing is an empty list, whether the name exists or not.  Text that comes from
    the DNS was written by a stranger.
    """

    async def a(self, name: str) -> list[str]:
        """IPv4 addresses of a name."""

    async def aaaa(self, name: str) -> list[str]:
        """IPv6 addresses of a name."""

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """Preferences and hosts, best first; a null MX (RFC 7505) is (0, "")."""

    async def txt(self, name: str) -> list[str]:
        """Text records, the strings of each one joined."""

    async def ns(self, name: str) -> list[str]:
        """Name servers of a zone."""

    async def ptr(self, ip: str) -> list[str]:
        """Names of an address, without final dot; none when `ip` is not an address.

        Whoever owns the address writes what he likes: see `Session.client_name`.
        """

    async def confirmed(self, ip: str, names: Sequence[str]) -> list[str]:
        """Those of an address's names that have this address themselves.

        The first five are asked about, all at once.  Raises DnsError only if that confirms none.
        """

    async def exists(self, name: str) -> bool:
        """Whether there is such a name, with or without records (RFC 8020)."""

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        """The records of a name, and whether it exists; PTR records are those of the name."""

    def limited(self, *, questions: int = 40, seconds: float = 20.0) -> Resolver:
        """The same resolver on a budget, such as that of all look-ups for one transaction.

        questions: look-ups.  seconds: waiting for them, in all; those at the same time count once.
        What goes beyond raises DnsLimitError.
        """


class Config(Protocol):
    """Reads configuration files of the current snapshot by their name, e.g. "badmailfrom"."""

    async def entries(self, name: str) -> Sequence[Entry]:
        """All lines of the file with their place; empty when there is no such file."""

    async def lines(self, name: str) -> list[str]:
        """All lines of the file."""

    async def value(self, name: str, default: str = "") -> str:
        """The first line of the file, or the default."""

    async def user_config(self, recipient: Recipient, name: str) -> list[str]:
        """All lines of the file as they are for one user; those of everybody by default."""

    async def mapping(self, name: str) -> Mapping[bytes, bytes]:
        """The constant database NAME.cdb, empty when there is none."""

    def path(self, name: str | Path) -> Path:
        """Where a file is that the administrator named, which need not exist.

        A relative name is looked up in the directories of the configuration, then in the working
        directory.
        """


class Store(Protocol):
    """State that outlives sessions, shared by all workers and maybe several machines.

    A value is some bytes, a counter a number; they have names of their own, and both are gone
    `ttl` seconds after they were written, if not before: this is a memory, not an archive.  Every
    method is atomic, and raises StoreError when the store is down or takes longer than the setting
    `store_timeout`.  Then a plugin has no opinion; that the store is down is logged already.

    Nothing connects to it before the first call.
    """

    def scoped(self, name: str) -> Store:
        """A part of the store with names of its own: `scoped(self.name)` is a plugin's."""

    async def get(self, key: str) -> bytes | None:
        """The value, None when there is none."""

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write a value, whatever was there."""

    async def add(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Write a value unless there is one; returns the one that was there, else None."""

    async def update(self, key: str, change: Callable[[bytes | None], bytes], ttl: float) -> bytes:
        """Write what `change` makes of the value (None when there is none), and return it.

        When somebody else writes meanwhile, `change` is called again with the new value.
        """

    async def delete(self, key: str) -> None:
        """Forget a value."""

    async def increment(self, key: str, by: int, ttl: float) -> int:
        """Add to a counter, which begins with 0, and return the sum.

        It is gone `ttl` seconds after the first call, whatever is added later.
        """

    async def count(self, key: str) -> int:
        """The sum of a counter, 0 when there is none."""


class Clock:
    """The time.  Tests lend one that stands still."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps."""
        return time.monotonic()


@dataclass(frozen=True)
class Job:
    """What is to be done how often; `name` is the same in every process."""

    name: str
    seconds: float
    method: Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Services:
    """Everything a plugin may borrow.

    store: what is shared with other workers; me: our host name; spool_dir: a directory for
    scratch files; environment: of the daemon.
    check_only: the configuration is only looked at: nothing may be made or changed.
    plugin_dirs: where the administrator's own Python files are.
    databytes: the largest message that is taken; 0 is any.
    jobs, blocking: what `every` and `run_blocking` use.
    """

    config: Config
    resolver: Resolver
    store: Store
    me: str
    spool_dir: Path
    version: str = ""
    clock: Clock = field(default_factory=Clock)
    environment: Mapping[str, str] = field(default_factory=dict)
    check_only: bool = False
    plugin_dirs: tuple[Path, ...] = ()
    databytes: int = 0
    jobs: list[Job] = field(default_factory=list)
    blocking: BlockingPool = field(default_factory=BlockingPool)

    def every(self, seconds: float, method: Callable[[], Awaitable[object]]) -> None:
        """Call a method of a plugin from time to time, beginning when the configuration is in use.

        In one process only, of all workers and machines that share the store; not at all while
        the store is down.  A fault is logged, and the next turn comes.  Call this in `start`.
        """
        owner = getattr(method, "__self__", None)
        name = f"{getattr(owner, 'name', '')}.{getattr(method, '__name__', 'job')}"
        self.jobs.append(Job(name, seconds, method))

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """What a function returns that blocks, from a thread; a few run at a time, others wait.

        When the hook is out of time the function runs on to its end.
        """
        return await self.blocking.run(function, *args)
