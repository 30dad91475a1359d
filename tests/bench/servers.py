# SPDX-License-Identifier: MIT
"""The servers that are compared, and how each is started.  Their configurations are in peers/."""

from __future__ import annotations

import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from maintscripts.ask import DEFAULT_LEVEL
from maintscripts.render import CHAIN, write_chains
from tests.bench.cost import Cost
from tests.bench.laboratory import Command, Laboratory, ServerError, running
from tests.bench.nameserver import ADDRESS
from tests.debian_system import CHECKOUT
from tests.isolation import run

PEERS = Path(__file__).with_name("peers")
NEXT_HOP_PORT = 2400


def _interpreter() -> str:
    """Debian's Python, which is what runs the package, if it can use the modules of this one.

    A Python that was built otherwise may be a quarter slower.
    """
    debian = Path("/usr/bin/python3")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(debian) if debian.resolve().name == version else sys.executable


PYTHON = _interpreter()
#: Where it finds the modules that are installed here.
_INSTALLED = tuple(path for path in sys.path if "site-packages" in path)
CLEANUP = "var/spool/postfix/public"


class Setup(StrEnum):
    """What a server is to do with mail; the directories in peers/ have these names."""

    DISCARD = "discard"
    DEFAULT_CHAIN = "default"
    BLOCK_LISTS = "dnsbl"
    LISTED = "listed"
    CHAIN = "chain"
    CHAIN_MINIMAL = "chain-minimal"
    CHAIN_STANDARD = "chain-standard"
    CHAIN_STRICT = "chain-strict"
    FORWARD = "forward"
    POSTFIX_QUEUE = "postfix-queue"
    UNAUTHENTICATED = "unauthenticated"
    AUTHENTICATION = "authentication"


#: SPF, DKIM and DMARC, and the same without them.
_AUTHENTICATION = (Setup.UNAUTHENTICATED, Setup.AUTHENTICATION)


#: The graded chains.
_LEVELS = (Setup.CHAIN_MINIMAL, Setup.CHAIN_STANDARD, Setup.CHAIN_STRICT)


@dataclass(frozen=True)
class OwnChain:
    """A set-up with files as they are shipped.

    level: its grade.  without: plugins that are left out.
    directories: those of peers/qpsmtpd that have the files of the administrator.
    """

    level: str = DEFAULT_LEVEL
    without: tuple[str, ...] = ()
    directories: tuple[str, ...] = ("default",)

    @property
    def changes(self) -> Mapping[str, str]:
        """What in the shipped files is replaced by what."""
        return {f"\n{plugin}": f"\n#{plugin}" for plugin in self.without}


#: It only waits; its other name is that of the Perl version.
_WAITING = ("earlytalker", "check_earlytalker")
#: Of whoever starts them on this machine.
_SCANNERS = ("virus/clamdscan", "rspamd", "spamassassin")
_ASKS_LISTS = ("default", "zones")

_OWN_CHAIN: Mapping[Setup, OwnChain] = {
    Setup.DEFAULT_CHAIN: OwnChain(),
    Setup.CHAIN: OwnChain(without=_WAITING, directories=("default", "chain")),
    Setup.CHAIN_MINIMAL: OwnChain("minimal"),
    Setup.CHAIN_STANDARD: OwnChain("standard", (*_WAITING, *_SCANNERS), _ASKS_LISTS),
    Setup.CHAIN_STRICT: OwnChain("strict", (*_WAITING, *_SCANNERS), _ASKS_LISTS),
}


@dataclass(frozen=True, kw_only=True)
class Server(ABC):
    """A server; its name is for the command line and the results, the title for people.

    trees: those it needs.  setups: what it can be measured at.
    checks: whether it looks at who comes and what for, so that it can refuse.
    most_idle: idle connections it is asked to hold.
    most_at_once: clients that it can serve within a minute when they come all at once.
    """

    name: str
    title: str
    trees: tuple[str, ...] = ()
    setups: tuple[Setup, ...] = (Setup.DISCARD,)
    checks: bool = True
    most_idle: int = 2000
    most_at_once: int = 10000

    @abstractmethod
    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        """Write its files into `home`, an empty directory; the command that starts it."""


@dataclass(frozen=True, kw_only=True)
class Ours(Server):
    """qpsmtpd of this tree, or of another one.

    code: the tree that runs, if not this one.  chain: the tree whose shipped files make the chain,
    if not that one.
    """

    workers: int
    loop: str = "uvloop"
    code: str = ""
    chain: str = ""
    setups: tuple[Setup, ...] = tuple(Setup)

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        source = laboratory.trees[self.code] if self.code else CHECKOUT
        config = home / "config"
        cleanup = laboratory.trees["postfix"] / CLEANUP / "cleanup"
        if setup in _OWN_CHAIN:
            shipped = laboratory.trees[self.chain] if self.chain else source
            _fill_own_chain(config, shipped, _OWN_CHAIN[setup])
        _fill_qpsmtpd(config, setup, str(home), "/nonexistent", str(cleanup))
        (home / "spool").mkdir(mode=0o700)
        words = (
            *(PYTHON, "-m", "qpsmtpd", "run", "--config", str(config)),
            *("--listen", f"127.0.0.1:{port}", "--workers", str(self.workers)),
        )
        environment = {"QPSMTPD_EVENT_LOOP": self.loop, **_python_path(source)}
        return Command(words, environment, home / "output")


FILTERS = "debian-protection"  # which the shipped file plugins includes


def _fill_own_chain(config: Path, source: Path, own: OwnChain) -> None:
    """The files of a tree as they are shipped, with changes; older trees have one chain."""
    chains = config / "chains"
    places = {"/etc/qpsmtpd": str(config), "/usr/share/qpsmtpd/chains": str(chains)}
    fill(config, source / "etc/qpsmtpd", {**places, **own.changes})
    templates = source / "templates"
    if (templates / CHAIN).exists():
        write_chains(chains, templates)
        fill(chains, chains, own.changes)
    (config / FILTERS).write_text(f"$include {chains}/{own.level}\n")


def _python_path(source: Path) -> dict[str, str]:
    """The environment of a Python that is to import from this tree, and not from where it runs."""
    return {"PYTHONPATH": ":".join((str(source), *_INSTALLED)), "PYTHONSAFEPATH": "1"}


@dataclass(frozen=True, kw_only=True)
class Perl(Server):
    """The Perl version, as Debian packages it, with the limits that it has by default."""

    program: tuple[str, ...]
    trees: tuple[str, ...] = ("perl",)
    # Its package does not depend on what its plugins for SPF, DKIM and DMARC need.
    setups: tuple[Setup, ...] = tuple(setup for setup in Setup if setup not in _AUTHENTICATION)
    most_idle: int = 10
    most_at_once: int = 200

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        root = laboratory.trees["perl"]
        inside = f"/srv/{home.name}"
        own = root / inside.lstrip("/")
        config = own / "config"
        if setup in _OWN_CHAIN:
            # The package's plugin check_loop refuses every message; loop is what it stands for.
            changes = {
                "/etc/qpsmtpd": f"{inside}/config",
                "check_loop": "loop",
                **_OWN_CHAIN[setup].changes,
            }
            fill(config, root / "etc/qpsmtpd", changes)
        if setup in _LEVELS:
            fill(config, PEERS / "perl" / setup, {})
        _fill_qpsmtpd(config, setup, inside, f"{inside}/plugins", f"/{CLEANUP}/cleanup")
        with (config / "plugin_dirs").open("a") as plugin_dirs:
            plugin_dirs.write("/usr/share/qpsmtpd/plugins\n")
        shutil.copytree(PEERS / "perl/plugins", own / "plugins")
        (own / "spool").mkdir()
        run(("chroot", str(root), "chown", "-R", "qpsmtpd:", inside), timeout=10)
        if setup is Setup.POSTFIX_QUEUE:
            _let_in(laboratory.trees["postfix"] / CLEANUP, root / CLEANUP)
        words = ("chroot", str(root), *self.program, "--port", str(port), "--user", "qpsmtpd")
        return Command(words, {"QPSMTPD_CONFIG": f"{inside}/config"}, home / "output")


def _fill_qpsmtpd(config: Path, setup: Setup, home: str, plugins: str, cleanup: str) -> None:
    values = {
        "@HOME@": home,
        "@PLUGINS@": plugins,
        "@CLEANUP@": cleanup,
        "@NEXT_HOP@": str(NEXT_HOP_PORT),
    }
    own = _OWN_CHAIN.get(setup)
    for name in ("common", *(own.directories if own else (setup,))):
        fill(config, PEERS / "qpsmtpd" / name, values)


def _let_in(source: Path, target: Path) -> None:
    """Show Postfix's sockets to a daemon in another tree."""
    source.chmod(0o711)
    target.mkdir(parents=True, exist_ok=True)
    run(("mount", "--bind", str(source), str(target)), timeout=10)


@dataclass(frozen=True, kw_only=True)
class Haraka(Server):
    """Haraka with one worker."""

    trees: tuple[str, ...] = ("haraka",)
    setups: tuple[Setup, ...] = (
        *(Setup.DISCARD, Setup.BLOCK_LISTS, Setup.LISTED, Setup.CHAIN, Setup.FORWARD),
        *_AUTHENTICATION,
        *_LEVELS,
    )

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        values = {"@PORT@": str(port), "@NEXT_HOP@": str(NEXT_HOP_PORT)}
        fill(home / "config", laboratory.trees["haraka"] / "config", {})
        for name in ("common", setup):
            fill(home / "config", PEERS / "haraka" / name, values)
        program = laboratory.trees["haraka"] / "bin/haraka"
        words = ("node", str(program), "--configs", str(home))
        return Command(words, {"YES_REALLY_DO_DISCARD": "1"}, home / "output")


@dataclass(frozen=True, kw_only=True)
class Script(Server):
    """A Python program of peers/bare."""

    script: str
    checks: bool = False

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        words = (PYTHON, str(PEERS / "bare" / self.script), str(port))
        return Command(words, _python_path(CHECKOUT), home / "output")


@dataclass(frozen=True, kw_only=True)
class SmtpSink(Server):
    """Postfix's smtp-sink, which takes everything and looks at nothing."""

    trees: tuple[str, ...] = ("postfix",)
    checks: bool = False

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        root = laboratory.trees["postfix"]
        options = ("-u", "postfix", "-m", "10000")
        words = ("chroot", str(root), "smtp-sink", *options, f"127.0.0.1:{port}", "4096")
        return Command(words, {}, home / "output")


@dataclass(frozen=True, kw_only=True)
class Postfix(Server):
    """Postfix; what its smtpd takes is thrown away by its queue, or before that."""

    trees: tuple[str, ...] = ("postfix",)
    setups: tuple[Setup, ...] = (Setup.DISCARD, Setup.BLOCK_LISTS, Setup.LISTED, Setup.CHAIN)
    most_idle: int = 80

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        root = laboratory.trees[self.trees[0]]
        values = {"@PORT@": str(port), **self.values()}
        fill(root / "etc/postfix", PEERS / "postfix/common", values)
        if setup in self.setups:
            own = filled((PEERS / "postfix" / setup / "main.cf").read_text(), values)
            with (root / "etc/postfix/main.cf").open("a") as main:
                main.write(own)
        # An earlier master was killed: its files are of no use any more.
        (root / "var/spool/postfix/pid/master.pid").unlink(missing_ok=True)
        log = root / "var/log/postfix.log"
        log.unlink(missing_ok=True)
        return Command(("chroot", str(root), *self.program(setup)), {}, log)

    def values(self) -> Mapping[str, str]:
        """Further placeholders, with their values."""
        return {}

    def program(self, setup: Setup) -> Sequence[str]:
        """The command that starts it, within its tree."""
        return _POSTFIX_MASTER


_POSTFIX_MASTER = ("postfix", "start-fg")


@dataclass(frozen=True)
class Milter:
    """A milter that is asked by Postfix: its command, and the port that it listens on."""

    command: str
    port: int


_FILTERS = "/srv/filters"
#: Starts milters and, when they listen, Postfix: arguments are their ports, and $1 their commands.
_BEHIND_MILTERS = """\
eval "$1"; shift
for port; do until : <>/dev/tcp/127.0.0.1/$port; do sleep 0.1; done; done 2>/dev/null
"""


@dataclass(frozen=True, kw_only=True)
class FilteringPostfix(Postfix):
    """Postfix that asks milters about each message; they are stopped with it."""

    milters: tuple[Milter, ...]
    trees: tuple[str, ...] = ("milters",)
    setups: tuple[Setup, ...] = _AUTHENTICATION

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        root = laboratory.trees[self.trees[0]]
        filters = root / _FILTERS.lstrip("/")
        # With the file that says that an earlier pyspf-milter, which was killed, still runs.
        shutil.rmtree(filters, ignore_errors=True)
        fill(filters, PEERS / "filters", {"@NAME_SERVER@": ADDRESS[0]})
        return super().prepare(laboratory, home, setup, port)

    def values(self) -> Mapping[str, str]:
        places = ", ".join(f"inet:127.0.0.1:{milter.port}" for milter in self.milters)
        return {"@MILTERS@": places}

    def program(self, setup: Setup) -> Sequence[str]:
        if setup is Setup.UNAUTHENTICATED:
            return _POSTFIX_MASTER
        script = f"{_BEHIND_MILTERS}exec {' '.join(_POSTFIX_MASTER)}"
        commands = "".join(f"{milter.command} & " for milter in self.milters)
        return ("bash", "-c", script, "bash", commands, *(str(each.port) for each in self.milters))


@asynccontextmanager
async def serving(
    laboratory: Laboratory, server: Server, setup: Setup, port: int
) -> AsyncIterator[Cost]:
    """Run a server until it is no longer needed, and its next hop, whose cost does not count.

    Begins when it greets.  Raises ServerError.
    """
    async with serving_all(laboratory, {port: server}, setup) as (cost,):
        yield cost


@asynccontextmanager
async def serving_all(
    laboratory: Laboratory, servers: Mapping[int, Server], setup: Setup
) -> AsyncIterator[Sequence[Cost]]:
    """The same with several, by their ports, which have one next hop."""
    async with AsyncExitStack() as stack:
        if next_hop := NEXT_HOPS.get(setup):
            await stack.enter_async_context(_serving(laboratory, next_hop, setup, NEXT_HOP_PORT))
        yield [
            await stack.enter_async_context(_serving(laboratory, server, setup, port))
            for port, server in servers.items()
        ]


@asynccontextmanager
async def _serving(
    laboratory: Laboratory, server: Server, setup: Setup, port: int
) -> AsyncIterator[Cost]:
    for tree in server.trees:
        if reason := laboratory.missing.get(tree):
            raise ServerError(reason)
    home = Path(tempfile.mkdtemp(prefix=f"{server.name}-{setup}-", dir=laboratory.work))
    try:
        command = server.prepare(laboratory, home, setup, port)
    except (OSError, RuntimeError) as error:
        raise ServerError(f"cannot be prepared: {error}") from None
    async with running(command, port) as cost:
        yield cost


def fill(directory: Path, source: Path, values: Mapping[str, str]) -> None:
    """Copy the files of a directory into another one, with placeholders replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in filter(Path.is_file, source.iterdir()):
        (directory / path.name).write_text(filled(path.read_text(), values))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced."""
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


#: The tree, and the server, of the commit that this one is compared with.
AGAINST = "against"
#: This tree with the default chain of that commit: the same work, as the chain grows by plugins.
FORMER_CHAIN = "ours-1-former-chain"

_SMTP_SINK = SmtpSink(name="smtp-sink", title="smtp-sink (C), no checks")
_POSTFIX = Postfix(name="postfix", title="Postfix smtpd")

#: By name, in the order of the table.
SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Ours(name="ours-1", title="qpsmtpd, 1 worker", workers=1),
        Ours(
            name=AGAINST,
            title="qpsmtpd, 1 worker, before",
            workers=1,
            trees=(AGAINST,),
            code=AGAINST,
        ),
        Ours(
            name=FORMER_CHAIN,
            title="qpsmtpd, 1 worker, chain before",
            workers=1,
            trees=(AGAINST,),
            chain=AGAINST,
            setups=(Setup.DEFAULT_CHAIN, Setup.CHAIN),
        ),
        Ours(name="ours-2", title="qpsmtpd, 2 workers", workers=2),
        Ours(
            name="ours-1-asyncio", title="qpsmtpd, 1 worker, no uvloop", workers=1, loop="asyncio"
        ),
        Ours(
            name="ours-2-asyncio", title="qpsmtpd, 2 workers, no uvloop", workers=2, loop="asyncio"
        ),
        Perl(
            name="perl-forkserver",
            title="Perl qpsmtpd, forkserver",
            program=("qpsmtpd-forkserver", "--listen-address", "127.0.0.1"),
        ),
        Perl(
            name="perl-prefork",
            title="Perl qpsmtpd, prefork",
            program=("qpsmtpd-prefork", "--interface", "127.0.0.1"),
        ),
        Haraka(name="haraka", title="Haraka"),
        Script(name="aiosmtpd", title="aiosmtpd, no checks", script="aiosmtpd_server.py"),
        Script(name="bare", title="bare protocol, no checks", script="uvloop_server.py"),
        _SMTP_SINK,
        _POSTFIX,
        FilteringPostfix(
            name="postfix-milters",
            title="Postfix, milters",
            milters=(
                Milter(f"pyspf-milter {_FILTERS}/pyspf-milter.conf", 8893),
                Milter(f"opendkim -f -x {_FILTERS}/opendkim.conf", 8891),
                Milter(f"opendmarc -f -c {_FILTERS}/opendmarc.conf", 8892),
            ),
        ),
        FilteringPostfix(
            name="postfix-rspamd",
            title="Postfix, rspamd",
            setups=(*_AUTHENTICATION, *_LEVELS),
            milters=(Milter(f"rspamd -f -u _rspamd -g _rspamd -c {_FILTERS}/rspamd.conf", 8894),),
        ),
    )
}
#: What runs behind a server that hands messages over.
NEXT_HOPS: dict[Setup, Server] = {Setup.FORWARD: _SMTP_SINK, Setup.POSTFIX_QUEUE: _POSTFIX}
