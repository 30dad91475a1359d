# SPDX-License-Identifier: MIT
"""dns_whitelist_soft: exempt clients on DNS allowlists (RFC 5782) from later tests.

    dns_whitelist_soft [timeout 4]

File `whitelist_zones`, one list a line; a text after it is logged in place of its name:

    list.example.org
    wl.example.net  trusted by example.net

All lists are asked at the same time, as soon as the client connects. A client on any of them is
exempt from the other plugins' tests from MAIL on; those at connect and HELO have been made by
then. Put this plugin before those whose tests such clients are to be spared. It refuses nothing.

A list counts as not listing the client if it has not answered `timeout` after the first MAIL, if
it fails, or if its answer makes no sense: an answer has to be within 127.0.0.0/8, but not
127.0.0.1, 127.0.0.255 or 127.255.255.0/24, by which lists say that they are closed or that we ask
too much. So does a list that has everybody (RFC 5782 section 5).

Differences from the Perl version: clients are exempt from MAIL on, not from RCPT on; a list needs
address records, not just TXT; IPv6 clients are looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    CLIENTS,
    DnsList,
    Finding,
    Note,
    Plugin,
    ReversePath,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    check_lists,
    opt,
    reversed_address,
    time_limit,
)

#: Allowlists answer this to those who ask too much; taken as a hit it would exempt everybody.
_OVER_LIMIT = "127.0.0.255"


@dataclass(frozen=True, kw_only=True)
class DnsWhitelistSoftOptions:
    """Options of dns_whitelist_soft."""

    timeout: Seconds = opt(Seconds(4), doc="How long the first MAIL may wait for the lists.")


class DnsWhitelistSoft(Plugin[DnsWhitelistSoftOptions]):
    """Allowlists of clients in the DNS."""

    files = {"whitelist_zones": "DNS lists of clients that are exempt from tests."}

    async def start(self) -> None:
        self._lists = await self._read_lists()
        #: The lookups under way, one for each list.
        self._lookups = Note[list[asyncio.Task[str]]](f"{self.name}.lookups")

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each list answers, and lists what it must and not everybody (RFC 5782)."""
        zones = [allowlist.zone for allowlist, _ in await self._read_lists()]
        resolver = self.services.resolver
        async for finding in check_lists(resolver, zones, CLIENTS, "whitelist_zones"):
            yield finding

    async def hook_connect(self, session: Session) -> Verdict | None:
        if self._lists and not self.immune(session):
            entry = reversed_address(session.client.ip)
            session.notes[self._lookups] = [
                session.begin(_find(allowlist, text, entry)) for allowlist, text in self._lists
            ]
        return None

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        tasks = tx.session.notes.pop(self._lookups)
        if tasks is None:
            return None
        try:
            with time_limit(self.options.timeout):
                await self._collect(tx.session, tasks)
        except TimeoutError:
            self.log.info("no list answered within %s", self.options.timeout)
        finally:
            _cancel(tasks)
        return None

    async def _read_lists(self) -> list[tuple[DnsList, str]]:
        """The lists, each with what the log calls it."""
        services = self.services
        lists = []
        for line in await services.config.lines("whitelist_zones"):
            zone, *text = line.split(None, 1)
            found = DnsList(zone, services.resolver, services.clock, unlisted=CLIENTS[1])
            lists.append((found, "".join(text) or found.zone))
        return lists

    async def _collect(self, session: Session, tasks: list[asyncio.Task[str]]) -> None:
        """Wait until a list has the client, or all have answered."""
        for answer in asyncio.as_completed(tasks):
            listed_by = await answer
            if listed_by:
                self.log.info("pass listed_by=%r", listed_by)
                session.whitelisted_host = session.whitelisted_host or listed_by
                return


def _cancel(tasks: list[asyncio.Task[str]]) -> None:
    for task in tasks:
        task.cancel()


async def _find(allowlist: DnsList, text: str, entry: str) -> str:
    """The text of the list if the client is on it, else ""."""
    codes = await allowlist.codes(entry)
    return text if codes and _OVER_LIMIT not in codes else ""
