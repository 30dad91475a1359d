# SPDX-License-Identifier: MIT
"""PluginConfig: the configuration as plugins see it: other plugins are asked before the files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.problems import Problem
from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Recipient
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import DEFAULT_TIMEOUT, ChainedPlugin
from qpsmtpd.plugin.services import Entry

log = logging.getLogger(__name__)

Ask = Callable[[Plugin[Any]], Awaitable[Sequence[str] | None]]


class PluginConfig:
    """Implements services.Config.

    `add` takes plugins that have started; those with `hook_config` or `hook_user_config` are asked
    from then on, and the first that knows a file supplies it.  A fault in one is a ConfigError: a
    file that is missing by accident must not pass for an empty one.  Only with `on_fault=skip` is
    the next plugin asked, and finally the file read.
    """

    def __init__(self, files: ConfigFiles) -> None:
        self._files = files
        self._asked: list[ChainedPlugin] = []

    def add(self, chained: ChainedPlugin) -> None:
        """Ask this plugin from now on."""
        if {"config", "user_config"} & set(chained.plugin.hooks()):
            self._asked.append(chained)

    async def entries(self, name: str) -> Sequence[Entry]:
        """All lines of the file with their place; empty when there is no such file."""
        for chained in self._asked:
            lines = await self._ask(chained, name, lambda plugin: plugin.hook_config(name))
            if lines is not None:
                where = f"{name} of plugin {chained.plugin.name}"
                return [Entry(text, f"{where}:{n}") for n, text in enumerate(lines, start=1)]
        if not self._files.has_read(name):
            # Clients are not to wait for a long list, or a slow disk.
            await asyncio.to_thread(self._files.entries, name)
        return self._files.entries(name)

    async def lines(self, name: str) -> list[str]:
        """All lines of the file."""
        return [entry.text for entry in await self.entries(name)]

    async def value(self, name: str, default: str = "") -> str:
        """The first line of the file, or the default."""
        return next((entry.text for entry in await self.entries(name)), default)

    async def mapping(self, name: str) -> Mapping[bytes, bytes]:
        """The constant database NAME.cdb; empty when there is none.  No plugin is asked."""
        return self._files.mapping(name)

    def warn(self, where: str, text: str) -> None:
        """Report what is odd about a line, but not wrong."""
        self._files.warnings.append(Problem(where, text, "warning"))

    def path(self, name: str | Path) -> Path:
        """The path of a file that the administrator named."""
        return self._files.path(name)

    async def user_config(self, recipient: Recipient, name: str) -> list[str]:
        """All lines of the file for one user: from `hook_user_config`, or else everybody's."""
        for chained in self._asked:
            lines = await self._ask(
                chained, name, lambda plugin: plugin.hook_user_config(recipient, name)
            )
            if lines is not None:
                return list(lines)
        return await self.lines(name)

    async def _ask(self, chained: ChainedPlugin, name: str, ask: Ask) -> Sequence[str] | None:
        try:
            async with asyncio.timeout(chained.timeout or DEFAULT_TIMEOUT):
                return await ask(chained.plugin)
        except ConfigError as error:
            if not chained.skip_faults:
                raise ConfigError(chained.where, error.problem) from error
            log.warning("plugin=%s does not supply file=%s: %s", chained.plugin.name, name, error)
            return None
        except Exception as error:
            log.exception("fault hook=config plugin=%s file=%s", chained.plugin.name, name)
            if chained.skip_faults:
                return None
            raise ConfigError(
                chained.where, f"plugin {chained.plugin.name} failed to supply the file {name}"
            ) from error
