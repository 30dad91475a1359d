# SPDX-License-Identifier: MIT
"""dns_whitelist_soft: exempt clients that DNS white lists name (RFC 5782) from later tests.

    dns_whitelist_soft [timeout 4]

File `whitelist_zones`, one list a line; a text behind it is noted in the log in place of its name:

    list.example.org
    wl.example.net  trusted by example.net

All lists are asked at the same time, from when the client connects. A client that one of them names
is exempt from the other plugins' tests from MAIL on; those at connect and HELO have been made by
then. This plugin must stand before those whose tests are to be spared. It never refuses anything.

A list that does not answer `timeout` after the first MAIL, fails, or gives no sensible answer
lists nobody: an answer has to be within 127.0.0.0/8, but not 127.0.0.1, 127.0.0.255 or
127.255.255.0/24, by which lists tell that they are closed or that we ask too much.

Differences from the Perl version: exempt from MAIL on, not from RCPT; a list needs address records
and not only TXT; IPv6 clients.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from qpsmtpd.api import (
    DnsList,
    Note,
    Plugin,
    ReversePath,
    Seconds,
    Session,
    Transaction,
    Verdict,
    opt,
    reversed_address,
)

#: White lists answer with it who asks too much; taken as a hit it would exempt everybody.
_OVER_LIMIT = "127.0.0.255"


@dataclass(frozen=True, kw_only=True)
class DnsWhitelistSoftOptions:
    """Options of dns_whitelist_soft."""

    timeout: Seconds = opt(Seconds(4), doc="How long the first MAIL may wait for the lists.")


class DnsWhitelistSoft(Plugin[DnsWhitelistSoftOptions]):
    """White lists of clients in the DNS."""

    files = {"whitelist_zones": "DNS lists of clients that are exempt from tests."}

    async def start(self) -> None:
        services = self.services
        self._lists: list[tuple[DnsList, str]] = []
        for line in await services.config.lines("whitelist_zones"):
            zone, *text = line.split(None, 1)
            white_list = DnsList(zone, services.resolver, services.clock)
            self._lists.append((white_list, "".join(text) or white_list.zone))
        #: The look-ups under way, one for each list.
        self._look_ups = Note[list[asyncio.Task[str]]](f"{self.name}.look_ups")

    async def hook_connect(self, session: Session) -> Verdict | None:
        if self._lists and not self.immune(session):
            entry = reversed_address(session.client.ip)
            session.notes[self._look_ups] = [
                session.begin(_find(white_list, text, entry)) for white_list, text in self._lists
            ]
        return None

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        tasks = tx.session.notes.pop(self._look_ups)
        if tasks is None:
            return None
        try:
            async with asyncio.timeout(self.options.timeout):
                await self._collect(tx.session, tasks)
        except TimeoutError:
            self.log.info("no list answered within %s", self.options.timeout)
        finally:
            _cancel(tasks)
        return None

    async def _collect(self, session: Session, tasks: list[asyncio.Task[str]]) -> None:
        """Wait until a list names the client, or all have answered."""
        for answer in asyncio.as_completed(tasks):
            listed_by = await answer
            if listed_by:
                self.log.info("pass listed_by=%r", listed_by)
                session.whitelisted_host = session.whitelisted_host or listed_by
                return


def _cancel(tasks: list[asyncio.Task[str]]) -> None:
    for task in tasks:
        task.cancel()


async def _find(white_list: DnsList, text: str, entry: str) -> str:
    """The text of the list when it names the client, or ""."""
    codes = await white_list.codes(entry)
    return text if codes and _OVER_LIMIT not in codes else ""
