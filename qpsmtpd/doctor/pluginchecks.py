# SPDX-License-Identifier: MIT
"""Plugins: lets each plugin of the chain examine its surroundings (`Plugin.examine`).

    root ──▶ a process of the daemon's user for each line ──▶ plugin ──▶ text ──▶ root

A plugin, ours or an administrator's, is imported in such a process and nowhere else: root reads the
lines of the file `plugins` as text.  Each line has its own process, so that a plugin can neither
forge nor spoil what another one says.  The commands of a plugin whose file users other than root
can change are not shown: root would be asked to run what those users wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import new_store, services_by
from qpsmtpd.config.pluginconfig import PluginConfig
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import PluginLine, plugin_name, read_line
from qpsmtpd.config.units import DIRECTORIES
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.doctor.access import only_root_changes
from qpsmtpd.doctor.examination import OTHERS, Examination
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.surroundings import Surroundings
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.finding import Finding, findings_in
from qpsmtpd.plugin.services import Entry, Resolver, Services
from qpsmtpd.plugin.sources import place_of

#: Seconds for the examination of one plugin.
TIMEOUT = 60.0


def examine_plugins(installation: Installation) -> Iterator[Examination]:
    """What the plugin on each line finds; nothing for lines that are wrong."""
    installation.look()
    if not installation.machine.can_be(installation.account):
        return
    try:
        entries = installation.entries
    except ConfigError:
        return  # which the area Configuration reports
    for entry in entries:
        examination = _examine_as_user(installation, entry)
        if examination is not None:
            yield examination


def _examine_as_user(installation: Installation, entry: Entry) -> Examination | None:
    name = plugin_name(entry)
    try:
        words = installation.machine.as_user(
            installation.account, lambda: _in_process(installation, entry)
        )
        examination = Examination.of(name, words) if words is not None else None
    except (OSError, ValueError) as failure:
        finding = Finding.warning(name, f"cannot be examined: {failure}", area=OTHERS)
        return Examination(name, (), (finding,))
    return examination and _without_commands_of_others(installation, examination)


def _without_commands_of_others(
    installation: Installation, examination: Examination
) -> Examination:
    finder = PluginFinder(installation.settings.plugin_dirs)
    file = finder.local_file(examination.name.partition(":")[0])
    if file is None or only_root_changes(installation.machine, file):
        return examination
    hidden = f"Its commands are not shown, as users other than root can change {file}."
    findings = [
        replace(finding, advice=hidden, commands=()) if finding.commands else finding
        for finding in examination.findings
    ]
    return replace(examination, findings=tuple(findings))


# --- in the process of the daemon's user ----------------------------------------------------


def _in_process(installation: Installation, entry: Entry) -> list[Any] | None:
    """The words of the examination; None if the line is wrong."""
    finder = PluginFinder(installation.settings.plugin_dirs)
    line = next(read_line(entry, finder, []), None)
    if line is None:
        return None
    if line.is_left_out([installation.machine.path(each) for each in DIRECTORIES]):
        return _left_out(line).words()
    return asyncio.run(_examine(installation, line)).words()


def _left_out(line: PluginLine) -> Examination:
    advice = "If you want that, install and enable it, and reload; or write a line of your own."
    finding = Finding.notice(line.name, line.why_left_out, advice)
    return Examination(line.name, (), (replace(finding, area=OTHERS),))


async def _examine(installation: Installation, line: PluginLine) -> Examination:
    findings: list[Finding] = []
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(TIMEOUT):
                services = _services(installation, stack)
                plugin = line.cls(line.name, line.options, services)
                async for finding in _said(plugin, Surroundings(installation)):
                    findings.append(finding)
        except ConfigError:
            pass  # which the area Configuration reports
        except TimeoutError:
            text = f"cannot be examined: it takes longer than {TIMEOUT:g} s"
            findings.append(Finding.warning(line.name, text))
        except Exception as error:
            text = f"cannot be examined: {type(error).__name__}: {error} ({place_of(error)})"
            findings.append(Finding.warning(line.name, text))
    area = _area(line.cls)
    placed = (replace(found, area=found.area or area) for found in findings)
    return Examination(line.name, tuple(line.cls.hooks()), tuple(placed))


def _said(plugin: Plugin[Any], system: Surroundings) -> AsyncIterator[Finding]:
    not_examined = type(plugin).examine is Plugin.examine
    if not_examined and "queue" in plugin.hooks() and not plugin.warning:
        text = "is not examined: it has no method `examine`"
        return findings_in(iter([Finding.notice(plugin.name, text)]))
    return findings_in(plugin.examine(system))


def _area(cls: type[Plugin[Any]]) -> str:
    """The heading for the findings of a plugin."""
    hooks = cls.hooks()
    if "queue" in hooks:
        return "Next hops"
    if "logging" in hooks:
        return "User and files"
    return "Certificates" if cls.tls_context is not Plugin.tls_context else OTHERS


def _services(installation: Installation, stack: AsyncExitStack) -> Services:
    settings, environment = installation.settings, installation.environment
    store = new_store(settings, environment)
    stack.push_async_callback(store.close)
    services = services_by(
        settings,
        config=_Config(installation),
        resolver=_resolver(installation, stack),
        store=store,
        environment=environment,
        check_only=True,
    )
    stack.push_async_callback(services.blocking.close)
    return services


def _resolver(installation: Installation, stack: AsyncExitStack) -> Resolver:
    try:
        resolver = installation.resolver()
    except (OSError, ValueError):
        resolver = DnsResolver([])  # which the area DNS reports
    # Only the real one has something to close.
    close: Callable[[], Awaitable[None]] | None = getattr(resolver, "close", None)
    if close is not None:
        stack.push_async_callback(close)
    return resolver


class _Config(PluginConfig):
    """The files of an installation; plugins that supply others are not asked."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(ConfigFiles(installation.paths))
        self._installation = installation

    def path(self, name: str | Path) -> Path:
        """The path of a file on the machine; the daemon's working directory is unknown."""
        places = [directory / name for directory in self._installation.directories]
        return next(filter(self._installation.machine.exists, places), places[0])
