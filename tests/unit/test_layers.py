# SPDX-License-Identifier: MIT
"""The layers of the package: nothing imports what is above it.

A new module needs a place in LAYERS.  If it does not fit anywhere, or an import breaks a rule, the
design is to be looked at first, and this table second.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "qpsmtpd"

#: From the bottom up.  The name of a package stands for all in it that is not named by itself.
LAYERS = {
    "values, and what knows nothing of mail": """
        __init__ errors terminal logs lists.cdb nexthop.setid_runner logins.pam_helper
        manpages.roff manpages.texts mail.text smtp.reply config.names config.runoptions
        daemon.detach daemon.notify daemon.scoreboard plugin.place metrics
        """,
    "what a mail is": "mail",
    "what plugins borrow": """
        plugin.blocking plugin.options plugin.services plugin.finding plugin.system
        plugin.verification plugin.breaker plugin.reportoptions plugin.timelimit
        config.problems config.pluginlevel config.spooldir
        """,
    "whether mail is genuine, and what is in it": "mailauth content",
    "what plugins are made of": """
        plugin lists nexthop scanners logins recipients api handlers milter
        """,
    "plugins": "plugins",
    "configuration and decisions": """
        plugin.chain config decisions dns store daemon.clientnames smtp.datareader smtp.proxyheader
        smtp.replies smtp.trace
        """,
    "the SMTP conversation": "smtp",
    "the wire": "smtp.protocol smtp.proxyhandshake fronts",
    "processes": "daemon testing",
    "tools": "dashboard dialogue digest doctor explain reports trial workshop",
    "the command line": "commands __main__ manpages",
}

#: What plugins may import of ours: the interface, and the ways to the next hop, to scanners, to
#: back ends of logins, and to tables of recipients.
FOR_PLUGINS = {
    "api",
    "logins",
    "logins.bearer",
    "logins.checkpassword",
    "logins.cvm",
    "logins.directory",
    "logins.dovecot",
    "logins.dsn",
    "logins.imap",
    "logins.introspection",
    "logins.ldap",
    "logins.mysql",
    "logins.pam",
    "logins.passwordplugin",
    "logins.scram",
    "logins.scramlogin",
    "logins.verifier",
    "logins.vpopmail",
    "logins.vpopmaild",
    "logins.vpopmailplugin",
    "metrics.catalogue",
    "metrics.counting",
    "nexthop",
    "nexthop.cleanup",
    "nexthop.eximtrust",
    "nexthop.eximverify",
    "nexthop.program",
    "nexthop.sizelimit",
    "recipients",
    "recipients.databases",
    "recipients.ldap",
    "recipients.mysql",
    "recipients.postgresql",
    "recipients.qmail",
    "recipients.socketmap",
    "recipients.sqlite",
    "recipients.table",
    "scanners",
    "scanners.clamd",
    "scanners.command",
    "scanners.fetching",
    "scanners.rspamd",
    "scanners.spamd",
}

#: The milter protocol as values, which the plugin and the front share.
SHARED = {"milter.codec", "milter.fields", "milter.negotiation", "milter.packets"}

#: What a plugin has a room of its own for.
ROOM_OF = {"plugins.aiosmtpd": "handlers", "plugins.milter": "milter", "plugins.uribl": "content"}

#: Who may import what is not in the standard library; plugins may import other libraries as well.
LIBRARIES = {
    "aiosmtpd": {
        "smtp.protocol",
        "handlers.handlerserver",
        "handlers.standins",
        "handlers.loading",
    },
    "cryptography": {"mailauth.dkimkey", "mailauth.dkimprivate"},
    "dns": {"dns.names"},
    "aiohttp": {"dashboard.application", "dashboard.guard", "dashboard.serving"},
    "asyncpg": {"recipients.postgresql"},
    "jinja2": {"dashboard.pages"},
    "ldap3": {"logins.ldap"},
    "pymysql": {"logins.mysql"},
    "markupsafe": {"dashboard.figures", "dashboard.pages", "dashboard.reporting"},
    "svgwrite": {"digest.charts"},
    "redis": {"store.cluster", "store.redisnode", "store.sentinel"},
    "uvloop": {"daemon.worker"},
}

PLACES = {name: place for place, names in enumerate(LAYERS.values()) for name in names.split()}


def module_name(path: Path) -> str:
    """The name below the package: "nexthop.pool"; a package has that of its directory."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Everything imported anywhere in a file, also within functions, by its full name."""
    return tuple(_imports(path))


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """All that are within a module, a class, a function and so on; no expression imports."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(block, field, ()):
            yield inner
            yield from _statements(inner)


def _imports(path: Path) -> Iterator[str]:
    for node in _statements(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("qpsmtpd.") in MODULES else node.module


def ours(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    names = {name for name in imports_of(path) if name.split(".")[0] == "qpsmtpd"}
    return {name.removeprefix("qpsmtpd").removeprefix(".") or "__init__" for name in names}


def place_of(module: str) -> int:
    return PLACES[module] if module in PLACES else PLACES[module.split(".")[0]]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module: str) -> None:
    assert module.split(".")[0] in PLACES, f"qpsmtpd/{module}.py needs a place in LAYERS"


def test_every_name_is_a_module() -> None:
    assert set(PLACES) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_what_is_above(module: str) -> None:
    above = {name for name in ours(MODULES[module]) if place_of(name) > place_of(module)}
    assert not above, f"{module} imports {above}"


def test_no_import_is_circular() -> None:
    graph = {module: ours(path) for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("plugins.")])
def test_plugins_import_the_interface_only(module: str) -> None:
    room = ROOM_OF.get(module)
    own = {name for name in MODULES if room and name.startswith(room)}
    assert ours(MODULES[module]) <= FOR_PLUGINS | own


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("plugins")])
def test_the_core_knows_no_plugin_and_few_libraries(module: str) -> None:
    assert not [name for name in ours(MODULES[module]) if name.startswith("plugins.")]
    imported = {name.split(".")[0] for name in imports_of(MODULES[module])}
    for library in imported - sys.stdlib_module_names - {"qpsmtpd"}:
        assert module in LIBRARIES.get(library, ()), f"{module} imports {library}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("mailauth.")])
def test_mail_authentication_borrows_a_resolver_and_a_clock(module: str) -> None:
    """And does no I/O of its own: what else it knows are values."""
    outside = {name for name in ours(MODULES[module]) if not name.startswith(("mail.", "mailauth"))}
    assert outside <= {"errors", "plugin.services"}


@pytest.mark.parametrize("room", sorted(set(ROOM_OF.values())))
def test_nobody_else_enters_the_room_of_a_plugin(room: str) -> None:
    """Nothing of it is loaded unless the plugin is."""
    inside = {name for name in MODULES if name.startswith(room)}
    private = inside - SHARED
    users = {name for name, path in MODULES.items() if ours(path) & private} - inside
    assert users == {name for name, its in ROOM_OF.items() if its == room}


def test_few_know_aiosmtpd() -> None:
    knowing = {
        name
        for name, path in MODULES.items()
        if any(imported.split(".")[0] == "aiosmtpd" for imported in imports_of(path))
    }
    assert knowing == LIBRARIES["aiosmtpd"]
