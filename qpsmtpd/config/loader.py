# SPDX-License-Identifier: MIT
"""Loads a configuration: reads the files, starts the plugins and links them into a chain.

The result is a Snapshot, which never changes.  A reload loads another one; sessions keep the one
they began with.  A configuration with errors is not used at all, and every error is reported.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd import __version__
from qpsmtpd.config.exposed import exposed
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.fronts import front_problems
from qpsmtpd.config.hostname import host_name
from qpsmtpd.config.pluginconfig import PluginConfig
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlevel import set_plugin_level
from qpsmtpd.config.pluginlines import PluginLine, read_plugin_lines
from qpsmtpd.config.problems import ConfigErrors, Problem, errors_in
from qpsmtpd.config.runoptions import Kind, parse_listen
from qpsmtpd.config.settings import Settings, load_settings
from qpsmtpd.config.snapshot import LIFE_CYCLE_TIMEOUT, Release, Snapshot, stop
from qpsmtpd.config.spooldir import prepare_spool_dir
from qpsmtpd.config.strayfiles import stray_files
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.patterns import Expression, noted_expressions
from qpsmtpd.lists.trials import slow_expressions
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import Chain, ChainedPlugin
from qpsmtpd.plugin.services import Config, Resolver, Services, Store
from qpsmtpd.plugin.sources import place_of
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import SharedStore, default_location, shared_store

_MECHANISMS = {"auth_plain": "PLAIN", "auth_login": "LOGIN", "auth_cram_md5": "CRAM-MD5"}


_IN_THE_CLEAR = (
    "passwords cross the network in the clear, as no plugin offers TLS: add a line tls, or write 0 "
    "into tls_before_auth if that is meant to be, or another program does the TLS"
)
_REMEDY = "leave out a repetition, or let those in a row take different characters"


class Rehearsal(NamedTuple):
    """What is used in place of the real thing while messages are only tried."""

    store: Store
    spool_dir: Path


async def load(
    directories: Sequence[Path],
    environment: Mapping[str, str],
    *,
    resolver: Resolver | None = None,
    check_only: bool = False,
    rehearsal: Rehearsal | None = None,
    fronts: Sequence[Kind] = (),
) -> Snapshot:
    """Load the configuration in these directories.  Raises ConfigErrors, with nothing left open.

    environment: the daemon's; QPSMTPD_RESOLVER="IP:PORT" is the name server to ask.
    resolver: in place of the real one.
    check_only: create no directories, and warn about files that nothing reads or everybody can
        change, and expressions that can hold up a worker; trying these takes a second or more.
    rehearsal: messages are only to be tried, and nothing outside may change.
    fronts: warn of what does not work there.
    """
    files = ConfigFiles(directories)
    name = await _name_without(files)
    loading = _Loading(files, environment, resolver, check_only, name, rehearsal)
    loading.problems += front_problems(loading.lines.plugins, fronts)
    try:
        await loading.run()
    except BaseException:
        await stop(loading.started, loading.releases)
        raise
    return loading.snapshot()


async def load_logging(
    directories: Sequence[Path], environment: Mapping[str, str]
) -> Snapshot | None:
    """The logging plugins alone of a configuration that `load` refuses; None if they are wrong too.

    Through them the administrator learns in the usual place what is wrong with the rest.
    """
    files = ConfigFiles(directories)
    loading = _Loading(files, environment, None, False, await _name_without(files))
    loading.lines.plugins.clear()
    await loading.start_plugins()
    if len(loading.started) < len(loading.lines.logging):
        await stop(loading.started, loading.releases)
        return None
    return loading.snapshot()


async def _name_without(files: ConfigFiles) -> str:
    """The name of this machine if the file `me` does not give one."""
    with suppress(ConfigError):
        if files.entries("me"):
            return ""
    # In a thread, as it may have to wait for name servers.
    return await asyncio.to_thread(host_name)


class _Loading:
    """One attempt, and the problems found so far."""

    def __init__(
        self,
        files: ConfigFiles,
        environment: Mapping[str, str],
        resolver: Resolver | None,
        check_only: bool,
        host_name: str,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self.files = files
        self.environment = environment
        self.settings, self.problems = load_settings(files, host_name)
        if rehearsal is not None:
            self.settings = replace(
                self.settings, spool_dir=rehearsal.spool_dir, decisions_days=0.0
            )
        finder = PluginFinder(self.settings.plugin_dirs)
        skip = self.settings.missing_plugins == "skip"
        self.lines = read_plugin_lines(files, finder, skip_missing=skip)
        self.problems += self.lines.problems
        self.started: list[ChainedPlugin] = []
        self.context: ssl.SSLContext | None = None
        self.config = PluginConfig(files)
        self.releases: list[Release] = []
        self.services = services_by(
            self.settings,
            config=self.config,
            resolver=resolver or self._resolver(),
            store=self._store() if rehearsal is None else rehearsal.store,
            environment=environment,
            check_only=check_only,
            rehearsal=rehearsal is not None,
        )
        self.releases.append(self.services.blocking.close)

    async def run(self) -> None:
        """Start everything.  Raises ConfigErrors when something is wrong."""
        if not self.services.check_only:
            spool_dir, mode = self.settings.spool_dir, self.settings.spool_mode
            self.problems += prepare_spool_dir(spool_dir, mode)
        with noted_expressions() as expressions:
            await self.start_plugins()
        for chained in self.started:
            with self._problems_of(chained.where, chained.plugin.name):
                self.context = self.context or chained.plugin.tls_context()
        if self.services.check_only and not errors_in(self.lines.problems):
            lines = (*self.lines.all, *self.lines.left_out)
            self.problems += stray_files(self.files, [line.cls for line in lines])
            self.problems += await slow(expressions)
        if self.services.check_only:
            directories, plugin_dirs = self.files.directories, self.settings.plugin_dirs
            self.problems += exposed(self.files.files, directories, plugin_dirs)
            self.problems += self._in_the_clear()
        self.problems += self.files.warnings
        if errors_in(self.problems):
            raise ConfigErrors(self.problems)

    async def start_plugins(self) -> None:
        """Start the plugins of all lines; what fails is a problem, and not in `started`."""
        for line in self.lines.all:
            with self._problems_of(line.where, line.name):
                chained = self._chained(line)
                async with asyncio.timeout(LIFE_CYCLE_TIMEOUT):
                    await chained.plugin.start()
                self.started.append(chained)
                if "queue" in chained.plugin.hooks():
                    self.services.deliverers.append(chained.plugin)
                self.config.add(chained)
            self._place_warnings(line)

    def _in_the_clear(self) -> list[Problem]:
        """A warning if users log in without TLS, and nobody has said that they may.

        None where TLS is wanted and does not work: that is an error by itself.
        """
        wanted = any(line.cls.tls_context is not Plugin.tls_context for line in self.lines.all)
        if wanted or not self.settings.tls_before_auth:
            return []
        judges = [each for each in self.started if _mechanisms([each.plugin])]
        return [
            Problem(each.where, f"{each.plugin.name}: {_IN_THE_CLEAR}", "warning")
            for each in judges[:1]
        ]

    def _place_warnings(self, line: PluginLine) -> None:
        """Say where the warnings of a plugin belong that are about its line as a whole."""
        self.files.warnings[:] = [
            warning
            if warning.where
            else replace(warning, where=line.where, text=f"{line.name}: {warning.text}")
            for warning in self.files.warnings
        ]

    def _resolver(self) -> DnsResolver:
        try:
            resolver = resolver_by(self.environment)
        except ConfigError as error:
            self.problems.append(Problem.of(error))
            resolver = DnsResolver([])
        self.releases.append(resolver.close)
        return resolver

    def _store(self) -> SharedStore:
        store = new_store(self.settings, self.environment)
        self.releases.append(store.close)
        return store

    def _chained(self, line: PluginLine) -> ChainedPlugin:
        plugin = line.cls(line.name, line.options, self.services)
        plugin.mode = line.common.mode
        skip_faults = line.common.on_fault == "skip"
        timeout = line.common.hook_timeout
        if timeout is None:
            timeout = self.settings.hook_timeout_of(line.name, line.plugin)
        return ChainedPlugin(plugin, skip_faults, timeout, line.where)

    @contextmanager
    def _problems_of(self, where: str, name: str) -> Iterator[None]:
        """Record whatever goes wrong inside as a problem of this plugin."""
        try:
            yield
        except ConfigError as error:
            self.problems += [
                Problem(part.where or where, f"{name}: {part.problem}") for part in error.parts
            ]
        except Exception as error:
            text = f"{name}: {type(error).__name__}: {error} ({place_of(error)})"
            self.problems.append(Problem(where, text))

    def snapshot(self) -> Snapshot:
        plugins = [chained.plugin for chained in self.started]
        for line, plugin in zip(self.lines.all, plugins, strict=True):
            set_plugin_level(plugin.log, line.common.loglevel)
        chain = Chain(self.started, self.settings.hook_timeout)
        spoken = {name for plugin in plugins for name in plugin.sasl_mechanisms()}
        return Snapshot(
            settings=self.settings,
            services=self.services,
            chain=chain,
            logging=tuple(plugin for plugin in plugins if "logging" in plugin.hooks()),
            tls_context=self.context,
            auth_mechanisms=tuple(dict.fromkeys((*_mechanisms(plugins), *sorted(spoken)))),
            files=tuple(self.files.files),
            warnings=tuple(self.problems),
            releases=tuple(self.releases),
            plugin_mechanisms=frozenset(spoken),
            left_out=self.lines.reasons,
        )


async def slow(expressions: Sequence[Expression]) -> list[Problem]:
    """A warning for each expression that can hold up a worker."""
    return [
        Problem(each.where, f"{each.pattern.pattern!r} {reason}; {_REMEDY}", "warning")
        for each, reason in await slow_expressions(expressions)
    ]


def services_by(
    settings: Settings,
    *,
    config: Config,
    resolver: Resolver,
    store: Store,
    environment: Mapping[str, str],
    check_only: bool,
    rehearsal: bool = False,
) -> Services:
    """What plugins may borrow under these settings."""
    return Services(
        config=config,
        resolver=resolver,
        store=store,
        me=settings.me,
        spool_dir=settings.spool_dir,
        version=__version__,
        environment=environment,
        check_only=check_only,
        rehearsal=rehearsal,
        plugin_dirs=settings.plugin_dirs,
        databytes=settings.databytes,
    )


def resolver_by(environment: Mapping[str, str]) -> DnsResolver:
    """The resolver that asks the name server of the environment, or those of this machine.

    Raises ConfigError.
    """
    text = environment.get("QPSMTPD_RESOLVER")
    if not text:
        return DnsResolver()
    try:
        address = parse_listen(text)
        return DnsResolver([(str(ip_address(address.host)), address.port)])
    except ValueError:
        raise ConfigError("QPSMTPD_RESOLVER", f"{text!r} is not IP:PORT") from None


def new_store(
    settings: Settings, environment: Mapping[str, str], *, read_only: bool = False
) -> SharedStore:
    """The store that the settings name; it connects when it is used.

    read_only: a file is neither made nor changed.
    """
    text = settings.store
    location = parse_location(text) if text else default_location(environment, settings.spool_dir)
    return shared_store(location, settings.store_timeout, read_only=read_only)


def _mechanisms(plugins: Sequence[Plugin[Any]]) -> tuple[str, ...]:
    """What AUTH may offer of our own; a plugin with the general hook takes any mechanism."""
    return tuple(
        mechanism
        for hook, mechanism in _MECHANISMS.items()
        if any(_judges(plugin, hook, mechanism) for plugin in plugins)
    )


def _judges(plugin: Plugin[Any], hook: str, mechanism: str) -> bool:
    able = not {hook, "auth"}.isdisjoint(plugin.hooks())
    return able and mechanism not in plugin.unusable_mechanisms()
