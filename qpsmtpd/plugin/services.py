# SPDX-License-Identifier: MIT
"""Services: what the daemon lends to plugins.  They are passed in, so that tests can lend fakes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from qpsmtpd.mail.address import ReversePath
from qpsmtpd.mail.session import Recipient
from qpsmtpd.plugin.blocking import BlockingPool
from qpsmtpd.plugin.verification import Verification

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
    name_exists: False if the name does not exist (NXDOMAIN); a name without these records exists,
    and so does an alias of a name that does not.
    """

    records: tuple[Any, ...]
    name_exists: bool


#: Called with an answer, or with what makes it impossible to have one; raises nothing.
Told = Callable[[DnsAnswer | BaseException], None]


class Resolver(Protocol):
    """Asks the DNS.  Every method raises DnsError if there is no answer.

    An answer without records is an empty list, whether the name exists or not.  Text from the DNS
    was written by a stranger.
    """

    async def a(self, name: str) -> list[str]:
        """IPv4 addresses of a name."""

    async def aaaa(self, name: str) -> list[str]:
        """IPv6 addresses of a name."""

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """Preferences and hosts, best first; a null MX (RFC 7505) is (0, "")."""

    async def txt(self, name: str) -> list[str]:
        """Text records, each with its strings joined."""

    async def ns(self, name: str) -> list[str]:
        """Name servers of a zone."""

    async def ptr(self, ip: str) -> list[str]:
        """Names of an address, without the final dot; none if `ip` is not an address.

        The owner of the address can write anything there: see `Session.client_name`.
        """

    async def confirmed(self, ip: str, names: Sequence[str]) -> list[str]:
        """Those of an address's names that have this address themselves.

        Only the first five are looked up, all at once.  Raises DnsError only if none is confirmed.
        """

    async def exists(self, name: str) -> bool:
        """Whether a name exists, with or without records (RFC 8020)."""

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        """The records of a name, and whether it exists; PTR records are those of the name."""

    def tell_names(self, ip: str, told: Told) -> None:
        """As `ptr`, for one that is called with them; at once if they are known."""

    def tell_confirmed(self, ip: str, names: Sequence[str], told: Told) -> None:
        """As `confirmed`, for one that is called with them; at once if they are known."""

    def limited(self, *, questions: int = 40, seconds: float = 20.0) -> Resolver:
        """The same resolver on a budget, such as one for all lookups of a transaction.

        questions: the number of lookups.  seconds: the total wait for them; lookups at the same
        time count once.  Whatever exceeds the budget raises DnsLimitError.
        """


class Config(Protocol):
    """Reads configuration files of the current snapshot by name, e.g. "badmailfrom"."""

    async def entries(self, name: str) -> Sequence[Entry]:
        """All lines of the file with their place; empty when there is no such file."""

    async def lines(self, name: str) -> list[str]:
        """All lines of the file."""

    async def value(self, name: str, default: str = "") -> str:
        """The first line of the file, or the default."""

    async def user_config(self, recipient: Recipient, name: str) -> list[str]:
        """All lines of the file for one user; by default everybody's."""

    async def mapping(self, name: str) -> Mapping[bytes, bytes]:
        """The constant database NAME.cdb; empty if there is none."""

    def warn(self, where: str, text: str) -> None:
        """Report what is odd about a line, but not wrong; in `start` only.

        `where` is that of its Entry, or "" for the plugin's own line; check-config prints it, and
        the log has it when the daemon starts.
        """

    def path(self, name: str | Path) -> Path:
        """The path of a file that the administrator named; it need not exist.

        A relative name is looked up in the directories of the configuration, then in the working
        directory.
        """


class Store(Protocol):
    """State that outlives sessions, shared by all workers and perhaps several machines.

    A value is some bytes, a counter is a number; a value and a counter may have the same key.  Both
    are gone `ttl` seconds after they were written, if not before: this is a memory, not an archive.
    Every method is atomic, and raises StoreError if the store is down or takes longer than the
    setting `store_timeout`.  A plugin that lets the error pass has no opinion then; the log says
    already that the store is down.

    Nothing connects to it before the first call.
    """

    def scoped(self, name: str) -> Store:
        """A part of the store with keys of its own; a plugin uses `scoped(self.name)`."""

    async def get(self, key: str) -> bytes | None:
        """The value; None if there is none."""

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write a value, whatever was there."""

    async def add(self, key: str, value: bytes, ttl: float) -> bytes | None:
        """Write a value unless there is one; returns the existing one, else None."""

    async def update(self, key: str, change: Callable[[bytes | None], bytes], ttl: float) -> bytes:
        """Write what `change` makes of the value (None if there is none), and return it.

        If somebody else writes meanwhile, `change` is called again with the new value.
        """

    async def delete(self, key: str) -> None:
        """Forget a value."""

    def items(self, beginning: str = "") -> AsyncIterator[tuple[str, bytes]]:
        """The keys that begin in this way, and their values, in no particular order.

        For tools: this may take long.  What is written meanwhile may be missing or come twice.
        """

    async def increment(self, key: str, by: int, ttl: float) -> int:
        """Add to a counter, which begins at 0, and return the sum.

        It is gone `ttl` seconds after the first call, whatever is added later.
        """

    async def count(self, key: str) -> int:
        """The sum of a counter; 0 if there is none."""


class Clock:
    """The time.  Tests lend one that stands still.

    now: seconds since the epoch.  monotonic: seconds of a clock that never jumps.
    """

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Deliverer(Protocol):
    """A plugin that delivers messages, as far as others may ask it something."""

    name: str

    @property
    def can_hold(self) -> bool:
        """See Plugin, as for what follows."""

    @property
    def fingerprint(self) -> str:
        """Its name and options as a short text that changes when they do."""

    def can_be_asked(self) -> bool:
        """Whether `knows_recipient` is there to ask somebody."""

    async def knows_recipient(
        self, recipient: Recipient, sender: ReversePath
    ) -> Verification | None:
        """What the mail system says about a recipient; None if this plugin does not take it."""


@dataclass(frozen=True)
class Job:
    """What to do, and how often; `name` is the same in every process."""

    name: str
    seconds: float
    method: Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Services:
    """Everything a plugin may borrow.

    store: what is shared with other workers; me: our host name; spool_dir: a directory for
    scratch files; environment: the daemon's.
    check_only: the configuration is only being checked: nothing may be created or changed.
    rehearsal: messages are only tried (`qpsmtpd try`): the same holds, but hooks are run.
    plugin_dirs: where the administrator's own Python files are.
    databytes: the largest message accepted; 0 means no limit.
    jobs, blocking: what `every` and `run_blocking` use.
    deliverers: the plugins with hook_queue, in their order; complete once all have started.
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
    rehearsal: bool = False
    plugin_dirs: tuple[Path, ...] = ()
    databytes: int = 0
    jobs: list[Job] = field(default_factory=list)
    blocking: BlockingPool = field(default_factory=BlockingPool)
    deliverers: list[Deliverer] = field(default_factory=list)

    def every(self, seconds: float, method: Callable[[], Awaitable[object]]) -> None:
        """Call a method of a plugin every so often, once the configuration is in use.

        Of all workers and machines that share the store, only one process calls it; none does while
        the store is down.  A fault is logged, and the calls go on.  Call this in `start`.
        """
        owner = getattr(method, "__self__", None)
        name = f"{getattr(owner, 'name', '')}.{getattr(method, '__name__', 'job')}"
        self.jobs.append(Job(name, seconds, method))

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function in a thread, and return its result.

        A few such functions run at a time; others wait.  If the hook runs out of time, the function
        still runs to its end.
        """
        return await self.blocking.run(function, *args)
