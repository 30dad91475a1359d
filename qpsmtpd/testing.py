# SPDX-License-Identifier: MIT
"""Fakes and builders for tests, ours and those of plugin authors.

plugin = await a_plugin(Dnsbl, "reject 0", config={"dnsbl_zones": ["bl.test"]}, dns={...})
verdict = await plugin.hook_connect(a_session(client_ip="192.0.2.9"))
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import load
from qpsmtpd.config.runoptions import FRONTS, Kind, ListenAddress
from qpsmtpd.daemon.server import Server
from qpsmtpd.daemon.sockets import bind
from qpsmtpd.dns.methods import ResolverMethods
from qpsmtpd.errors import ConfigError, DnsError, StoreError
from qpsmtpd.mail.address import parse_forward_path, parse_reverse_path
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.session import Recipient, ReverseNames, Session, Transaction
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.checks import check_plugin
from qpsmtpd.plugin.finding import Finding, findings_in
from qpsmtpd.plugin.options import parse
from qpsmtpd.plugin.services import (
    Clock,
    DnsAnswer,
    Entry,
    RecordType,
    Resolver,
    Services,
    Store,
)
from qpsmtpd.plugin.system import Account, Obstacle, Output, System
from qpsmtpd.store.operation import (
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
from qpsmtpd.store.view import StoreClient

P = TypeVar("P", bound=Plugin[Any])

CLIENT_IP = "192.0.2.1"
SERVER_IP = "198.51.100.25"
ME = "mx.example"

#: The daemon's user on a fake machine.
ACCOUNT = Account("qpsmtpd", 64001, frozenset({64001}))

#: Records of a fake DNS: ("A", "name") → data; an exception as data is raised.
Records = Mapping[tuple[str, str], Sequence[Any] | Exception]


class FakeClock(Clock):
    """A clock that advances only when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now
        self._wrong_by = 0.0

    def now(self) -> float:
        return self.time + self._wrong_by

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def jump(self, seconds: float) -> None:
        """Set the clock on the wall; no time passes."""
        self._wrong_by += seconds


class FakeResolver(ResolverMethods):
    """Answers from a table; what is not in it does not exist.  Remembers the questions.

    A name exists when the table has any record of it, even an empty list of records.
    `FakeResolver(silent=True)` never answers: its lookups wait forever.
    """

    def __init__(self, records: Records | None = None, *, silent: bool = False) -> None:
        known = (records or {}).items()
        self.records = {(kind, canonical_domain(name)): data for (kind, name), data in known}
        self.silent = silent
        self.asked: list[tuple[str, str]] = []

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        return await self._ask(kind, name)

    async def exists(self, name: str) -> bool:
        return (await self._ask("A", name)).name_exists

    async def ptr(self, ip: str) -> list[str]:
        return list((await self._ask("PTR", ip)).records)

    async def _ask(self, kind: str, name: str) -> DnsAnswer:
        self.asked.append((kind, name))
        name = canonical_domain(name)
        if self.silent:
            await asyncio.Event().wait()
        answer = self.records.get((kind, name), ())
        if isinstance(answer, Exception):
            raise answer
        return DnsAnswer(tuple(answer), any(owner == name for _, owner in self.records))


class FakeConfig:
    """Configuration files from a dictionary: {"badmailfrom": ["a@example.com"]}.

    directory: of files that are named on the line of a plugin.
    After `declare` it is an AssertionError to read a file that is not declared (`Plugin.files`).
    `asked` has the names of all files that were read, `warnings` what plugins have warned of.
    """

    def __init__(
        self, files: Mapping[str, Sequence[str]] | None = None, directory: Path | None = None
    ) -> None:
        self.files = dict(files or {})
        self.maps: dict[str, dict[bytes, bytes]] = {}
        self.asked: set[str] = set()
        self.warnings: list[str] = []
        self._named = ConfigFiles([directory] if directory else [])
        self._declared: set[str] | None = None

    def declare(self, plugin: Plugin[Any]) -> None:
        """A plugin may read its files, and what its options name."""
        options = map(str, vars(plugin.options).values()) if plugin.options else ()
        self._declared = {*(self._declared or ()), *plugin.files, *options}

    async def entries(self, name: str) -> Sequence[Entry]:
        return [
            Entry(text, f"{name}:{number}") for number, text in enumerate(self._read(name), start=1)
        ]

    async def lines(self, name: str) -> list[str]:
        return list(self._read(name))

    async def value(self, name: str, default: str = "") -> str:
        return next(iter(self._read(name)), default)

    async def user_config(self, recipient: Recipient, name: str) -> list[str]:
        everybodys = self._read(name)
        return list(self.files.get(f"{recipient}/{name}", everybodys))

    async def mapping(self, name: str) -> Mapping[bytes, bytes]:
        self._read(f"{name}.cdb")
        return self.maps.get(name, {})

    def warn(self, where: str, text: str) -> None:
        self.warnings.append(f"{where}: {text}")

    def path(self, name: str | Path) -> Path:
        return self._named.path(name)

    def _read(self, name: str) -> Sequence[str]:
        declared = self._declared is None or name in self._declared
        assert declared, f"the plugin reads the file {name!r}, which is not in its `files`"
        self.asked.add(name)
        return self.files.get(name, ())


class FakeStore(StoreClient):
    """A store in memory.  `down` makes every call raise StoreError; it may be set later."""

    def __init__(self, clock: Clock | None = None, *, down: bool = False) -> None:
        super().__init__(self._carry_out)
        self.clock = clock or FakeClock()
        self.down = down
        self._entries: dict[bytes, tuple[Any, float]] = {}

    async def _carry_out(self, operation: Operation) -> Any:
        if self.down:
            raise StoreError("the fake store is down")
        now = self.clock.monotonic()
        there, end = self._entries.get(operation.name, (None, now))
        if end <= now:
            there = None
        match operation:
            case Get(_):
                return there
            case Count(_):
                return there or 0
            case Scan(beginning, _):
                entries = tuple(
                    (name, value)
                    for name, (value, end) in self._entries.items()
                    if name.startswith(beginning) and end > now
                )
                return Page(entries)
            case Delete(name):
                self._entries.pop(name, None)
                return None
            case Put(name, value, ttl):
                self._entries[name] = value, now + ttl
                return None
            case Add(name, value, ttl):
                if there is None:
                    self._entries[name] = value, now + ttl
                return there
            case Replace(name, old, value, ttl):
                if there == old:
                    self._entries[name] = value, now + ttl
                return there
            case Increment(name, by, ttl):
                total = (there or 0) + by
                self._entries[name] = total, now + ttl if there is None else end
                return total


class FakeSystem:
    """A machine for `examine`: the files below a directory.

    outputs: what commands print, by their words.  obstacles: what keeps the daemon's user from a
    file, by its path.  listening: addresses that the daemon is to listen on.
    """

    def __init__(self, root: Path, account: Account | None = ACCOUNT) -> None:
        self.root = root
        self.account = account
        self.outputs: dict[str, str] = {}
        self.obstacles: dict[str, Obstacle] = {}
        self.listening: set[tuple[str, int]] = set()

    @property
    def user(self) -> str:
        return self.account.name if self.account else ACCOUNT.name

    def path(self, path: str | Path) -> Path:
        return self.root / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        return self.path(path).read_text() if self.exists(path) else ""

    def status(self, path: str | Path) -> os.stat_result | None:
        return self.path(path).stat() if self.exists(path) else None

    def exists(self, path: str | Path) -> bool:
        return self.path(path).exists()

    def existing(self, path: str | Path) -> Path:
        return next(filter(self.exists, (Path(path), *Path(path).parents)))

    def runnable(self, path: str | Path) -> bool:
        return os.access(self.path(path), os.X_OK) and self.path(path).is_file()

    def run(self, *command: str) -> Output | None:
        text = self.outputs.get(" ".join(command))
        return None if text is None else Output(0, text)

    def group_name(self, gid: int) -> str:
        return f"group{gid}"

    def obstacle(self, path: str | Path, wanted: int) -> Obstacle | None:
        return self.obstacles.get(str(path))

    def confinement(self, path: str | Path) -> Finding | None:
        return None

    def set_id_problem(self, program: str) -> Finding | None:
        return None

    def running_groups(self) -> frozenset[int] | None:
        return None

    def listens(self, host: str, port: int) -> str:
        return f"{host}:{port}" if (host, port) in self.listening else ""

    def trusting(self, host: str) -> str:
        return ""


async def findings_of(plugin: Plugin[Any], system: System) -> list[Finding]:
    """What a plugin finds in its surroundings."""
    return [finding async for finding in findings_in(plugin.examine(system))]


def services(
    *,
    config: Mapping[str, Sequence[str]] | None = None,
    dns: Records | FakeResolver | None = None,
    store: Store | None = None,
    me: str = ME,
    spool_dir: Path | None = None,
    clock: Clock | None = None,
    environment: Mapping[str, str] | None = None,
    check_only: bool = False,
    plugin_dirs: Sequence[Path] = (),
    databytes: int = 0,
    config_dir: Path | None = None,
) -> Services:
    """Services whose every part is a fake; `config_dir` is where files named by options are."""
    clock = clock or FakeClock()
    return Services(
        config=FakeConfig(config, config_dir),
        resolver=dns if isinstance(dns, FakeResolver) else FakeResolver(dns),
        store=store or FakeStore(clock),
        me=me,
        spool_dir=spool_dir or Path(tempfile.gettempdir()),
        version="2.0",
        clock=clock,
        environment=dict(environment or {}),
        check_only=check_only,
        plugin_dirs=tuple(plugin_dirs),
        databytes=databytes,
    )


async def a_plugin(cls: type[P], line: str = "", *, name: str = "", **lent: Any) -> P:
    """A started plugin with the arguments of `line`; `lent` goes to `services`.

    Raises ConfigError when the arguments are wrong, and PluginError when the plugin is.
    """
    check_plugin(cls)
    options, problems = parse(cls.Options, line.split())
    if problems:
        raise ConfigError("line", "; ".join(problems))
    given = lent.pop("services", None)
    plugin = cls(name or cls.__name__.lower(), options, given or services(**lent))
    if isinstance(plugin.services.config, FakeConfig):
        plugin.services.config.declare(plugin)
    await plugin.start()
    return plugin


class FakeChannel:
    """A connection whose client talks early or not.

    waits: the seconds of each wait for early input.  teased: whether a teaser was sent.
    stalls: the seconds of each wait in the tarpit; stays: False if the client has to go.
    """

    def __init__(self, *, early: bool = False, stays: bool = True) -> None:
        self.early, self.stays = early, stays
        self.waits: list[float] = []
        self.stalls: list[float] = []
        self.teased = False

    async def early_input(self, seconds: float, *, teaser: bool = False) -> bool:
        self.waits.append(seconds)
        self.teased = self.teased or teaser
        return self.early

    async def tarpit(self, seconds: float) -> bool:
        self.stalls.append(seconds)
        return self.stays


def a_session(
    client_ip: str = CLIENT_IP,
    *,
    helo: str | None = None,
    ehlo: str | None = None,
    client_name: str | None = None,
    reverse_name: str | None = None,
    early: bool = False,
    relay_client: bool = False,
    channel: FakeChannel | None = None,
) -> Session:
    """A session that said EHLO or HELO (or nothing), whose client talks early or not.

    channel: its connection, in place of one that was made for `early`.
    client_name: the confirmed name.  reverse_name: the first of the address, by default the same;
    without either the DNS is not asked.
    """

    async def reverse_lookup() -> ReverseNames:
        claimed = reverse_name or client_name
        return ReverseNames(client_name, claimed, asked=claimed is not None)

    session = Session(
        Endpoint(client_ip, 40000),
        Endpoint(SERVER_IP, 25),
        reverse_lookup=reverse_lookup,
        channel=channel or FakeChannel(early=early),
    )
    session.relay_client = relay_client
    if helo or ehlo:
        session.hello = "helo" if helo else "ehlo"
        session.hello_host = helo or ehlo or ""
    return session


def a_recipient(address: str = "user@example.test") -> Recipient:
    """A recipient, of an address without brackets."""
    return Recipient(parse_forward_path(f"<{address}>", utf8=True))


def a_message(text: str | bytes = "Subject: test\n\nHello.\n") -> Message:
    """A message of text with LF (or CRLF) line ends."""
    data = text.encode() if isinstance(text, str) else text
    return Message.from_bytes(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def a_transaction(
    sender: str = "sender@example.com",
    *recipients: str,
    session: Session | None = None,
    message: str | bytes | None = None,
    parameters: dict[str, str | None] | None = None,
) -> Transaction:
    """A transaction ("" is the null reverse-path), with its session and perhaps a message.

    If it has recipients or a message, plugins may change the envelope.
    """
    session = session or a_session(ehlo="client.example")
    reverse_path = parse_reverse_path(f"<{sender}>", utf8=True)
    transaction = Transaction(session, reverse_path, parameters)
    session.transaction = transaction
    transaction.recipients.extend(a_recipient(address) for address in recipients)
    transaction.envelope_changeable = bool(recipients) or message is not None
    if message is not None:
        transaction.message = a_message(message)
        transaction.size = transaction.message.size
        transaction.received_header = bytes(transaction.message.headers)
    return transaction


def give_body(tx: Transaction, size: int = 65536) -> None:
    """Give the body of the message to its taps in blocks of this size, as if it were just read.

    What a tap raises is raised.
    """
    assert tx.message is not None
    whole = tx.message.body.in_memory
    assert whole is not None
    taps, tx.taps = tx.taps or (), None
    text = whole.removeprefix(b"\r\n")
    for start in range(0, len(text), size):
        for tap in taps:
            tap.listen(text[start : start + size])


def dns_failure(text: str = "SERVFAIL") -> DnsError:
    """What a lookup raises when nobody knows."""
    return DnsError(text)


@dataclass(frozen=True)
class Serving:
    """A server that runs in this process; tls_port is for implicit TLS, 0 without a plugin tls.

    fronts: the ports on which it speaks something else, by what that is: "lmtp", "milter",
        "policy".
    """

    host: str
    port: int
    tls_port: int
    server: Server
    directory: Path
    fronts: Mapping[str, int]


#: What `serve` configures unless told otherwise.
DEFAULT_FILES = {
    "me": [ME],
    "plugins": ["rcpt_ok", "queue/discard"],
    "rcpthosts": ["example.test"],
    "reverse_lookup": ["no"],
}


_OTHERS: tuple[Kind, ...] = ("lmtp", *FRONTS)


@asynccontextmanager
async def serve(
    files: Mapping[str, Sequence[str]] | None = None,
    *,
    dns: Records | Resolver | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Serving]:
    """Run the real server on a free port of 127.0.0.1, with these configuration files.

    A line may say {directory}, which is the directory of the configuration.
    """
    resolver = FakeResolver(dns) if dns is None or isinstance(dns, Mapping) else dns
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-test-") as name:
        directory = Path(name)
        spool = directory / "spool"
        spool.mkdir(mode=0o700)
        contents = {**DEFAULT_FILES, "spool_dir": [str(spool)], **(files or {})}
        for file, lines in contents.items():
            text = "".join(f"{line.replace('{directory}', name)}\n" for line in lines)
            (directory / file).write_text(text)
        snapshot = await load([directory], environment or {}, resolver=resolver)
        server = Server(snapshot, asyncio.get_running_loop())
        host = "127.0.0.1"
        kinds: list[tuple[bool, Kind]] = [(False, "smtp"), (True, "smtp")]
        kinds += ((False, kind) for kind in _OTHERS)
        listeners = bind([ListenAddress(host, 0, tls, kind) for tls, kind in kinds])
        await server.listen(listeners)
        try:
            port, tls_port, *others = (each.socket.getsockname()[1] for each in listeners)
            fronts = dict(zip(_OTHERS, others, strict=True))
            tls_port = tls_port if snapshot.tls_context else 0
            yield Serving(host, port, tls_port, server, directory, fronts)
        finally:
            await server.drain(5)
