# SPDX-License-Identifier: MIT
"""Snapshot: one configuration, ready for use, which never changes."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpsmtpd.config.problems import Problem
from qpsmtpd.config.settings import Settings
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import Chain, ChainedPlugin
from qpsmtpd.plugin.services import Services

log = logging.getLogger(__name__)

#: Seconds that a plugin may take to start or to stop.
LIFE_CYCLE_TIMEOUT = 60.0

#: Closes what a configuration opened.
Release = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Snapshot:
    """One configuration, ready for use.

    logging: the plugins that log lines go to.
    tls_context: for STARTTLS and implicit TLS; None if no plugin supplies one.
    auth_mechanisms: what AUTH may offer; plugin_mechanisms: those of them that plugins implement.
    files: every file that was read.  warnings: what is odd about them.
    releases: what closes the resolver and the store.
    """

    settings: Settings
    services: Services
    chain: Chain
    logging: tuple[Plugin[Any], ...]
    tls_context: ssl.SSLContext | None
    auth_mechanisms: tuple[str, ...]
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...]
    releases: tuple[Release, ...]
    plugin_mechanisms: frozenset[str] = frozenset()

    async def stop(self) -> None:
        """Stop all plugins, the last one first, then the resolver and the store.

        Faults are only logged.
        """
        await stop(self.chain.plugins, self.releases)


async def stop(started: Sequence[ChainedPlugin], releases: Sequence[Release]) -> None:
    """Stop these plugins, the last one first, and release what they used."""
    for chained in reversed(started):
        try:
            async with asyncio.timeout(LIFE_CYCLE_TIMEOUT):
                await chained.plugin.stop()
        except Exception:
            log.exception("fault: plugin=%s does not stop", chained.plugin.name)
    for release in releases:
        await release()
