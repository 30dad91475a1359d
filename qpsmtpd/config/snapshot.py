# SPDX-License-Identifier: MIT
"""Snapshot: one configuration, ready for use, which never changes."""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qpsmtpd.config.pace import Pace
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.settings import Settings
from qpsmtpd.decisions.keeper import Keeper, Limits
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.mail import dsn
from qpsmtpd.mail.capabilities import limits_line
from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Spool
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import Chain, ChainedPlugin
from qpsmtpd.plugin.services import Services
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.store.counts import SharedCounts

log = logging.getLogger(__name__)

#: Seconds that a plugin may take to start or to stop.
LIFE_CYCLE_TIMEOUT = 60.0

#: Seconds after which the failed logins of a client are forgotten.
FAILED_LOGINS_WINDOW = 3600.0

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
    left_out: which lines are not used, and why (`if_enabled`).
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
    left_out: tuple[str, ...] = ()

    @functools.cached_property
    def failed_logins(self) -> SharedCounts:
        """The failed logins of each client."""
        # No plugin can have a name with a space.
        store = self.services.store.scoped("failed logins")
        return SharedCounts(store, self.services.clock, FAILED_LOGINS_WINDOW)

    @functools.cached_property
    def pace(self) -> Pace:
        """How long clients may take, and how often they may err, as things are."""
        return Pace(self.settings)

    @functools.cached_property
    def greetings(self) -> tuple[Reply, Reply]:
        """The greeting (RFC 5321 section 4.2) of SMTP, and that of LMTP."""
        return Reply(220, "", self._greeting("ESMTP")), Reply(220, "", self._greeting("LMTP"))

    def _greeting(self, protocol: str) -> str:
        greeting = self.settings.smtpgreeting
        if not greeting:
            return f"{self.services.me} {protocol} qpsmtpd"
        return greeting if protocol in greeting.split() else f"{greeting} {protocol}"

    @property
    def data_limits(self) -> DataLimits:
        """What a message may not exceed."""
        limits = self._data_limits
        if not self.chain.limits_size:
            return limits
        largest = self.largest_message
        return limits if limits.size == largest else replace(limits, size=largest)

    @functools.cached_property
    def _data_limits(self) -> DataLimits:
        settings = self.settings
        return DataLimits(
            int(settings.databytes),
            settings.max_line_length,
            settings.max_header_size,
            settings.max_headers,
        )

    @functools.cached_property
    def keywords(self) -> tuple[str, ...]:
        """The EHLO keywords that are offered to everybody.

        RFC 2920, 6152, 3030, 6531, 2034, 9422 and 3461, in this order.
        """
        settings = self.settings
        chunking = ["CHUNKING"] if settings.chunking else []
        utf8 = ["SMTPUTF8"] if settings.smtputf8 else []
        limits = limits_line(RCPTMAX=settings.max_recipients)
        notices = [dsn.KEYWORD] if settings.dsn == "always" else []
        first = ("PIPELINING", "8BITMIME", *chunking, *utf8, "ENHANCEDSTATUSCODES")
        return (*first, *filter(None, [limits]), *notices)

    @functools.cached_property
    def authserv_id(self) -> str | None:
        """Our name in Authentication-Results; None if there is to be no such field."""
        name = self.settings.me_auth_results or self.services.me
        return None if name == "none" else name

    @functools.cached_property
    def new_spool(self) -> Callable[[SpoolMemory], Spool]:
        """Makes an empty spool for a message; what all of them have in memory is counted."""
        settings = self.settings
        return functools.partial(
            Spool, settings.spool_dir, settings.size_threshold, mode=settings.spool_mode
        )

    @property
    def largest_message(self) -> int:
        """How many octets a message may have, by `databytes` and by the next hop; 0 for any."""
        own, next_hop = self._data_limits.size, self.chain.largest_message()
        return min(own, next_hop) if own and next_hop else own or next_hop

    @functools.cached_property
    def decisions(self) -> Keeper | None:
        """Keeps what became of messages; None if nothing is to be kept."""
        settings = self.settings
        if not settings.decisions_days:
            return None
        return Keeper(
            self.services.store,
            self.services.clock,
            Limits(settings.decisions_days, settings.decisions_size),
            Privacy(
                settings.decisions_addresses,
                settings.decisions_clients,
                settings.network_prefix_ipv4,
                settings.network_prefix_ipv6,
            ),
        )

    async def stop(self) -> None:
        """Stop all plugins, the last one first, then the resolver and the store.

        Faults are only logged.
        """
        if "decisions" in vars(self) and self.decisions is not None:
            await self.decisions.close()
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
