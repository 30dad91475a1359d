# SPDX-License-Identifier: MIT
"""rhsbl: refuse senders whose domain is on a DNS blocklist (RFC 5782 section 2.2).

    rhsbl [reject ...] [reject_type ...] [timeout 10]

File `rhsbl_zones`, one list a line, with the text that the client gets after it; without one the
client gets what the list itself says (its TXT record):

    dbl.example.org
    rhsbl.example.net  it sends what nobody asked for

At MAIL all lists are asked about the domain of the sender at the same time; the first in the file
that has it decides. The sender is then refused with 550 5.7.1, and the client loses a point of
karma. Exempt clients, the null sender and address literals are not tested.

A list counts as not listing the domain if it does not answer within `timeout`, if it fails, or if
its answer makes no sense: an answer has to be within 127.0.0.0/8, but not 127.0.0.1 or
127.255.255.0/24. Such answers are logged once an hour. While a list is down, nobody waits for it,
as with dnsbl.

Old form: `rhsbl disconnect` (any reject_type alone).

Differences from the Perl version: there the reply named the HELO name instead of the sender's
domain, and the texts of zones were never used; answers of lists that are closed or refuse us do not
count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from qpsmtpd.api import (
    DOMAINS,
    DnsList,
    Finding,
    Plugin,
    RejectOptions,
    ReversePath,
    Seconds,
    System,
    Transaction,
    Verdict,
    check_lists,
    opt,
    time_limit,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RhsblOptions(RejectOptions):
    """Options of rhsbl."""

    timeout: Seconds = opt(Seconds(10), doc="How long each list may take.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """A reject_type alone is the form of older versions."""
        if len(words) == 1 and "=" not in words[0]:
            return ["reject_type", words[0]]
        return list(words)


class Rhsbl(Plugin[RhsblOptions]):
    """Blocklists of domains in the DNS."""

    files = {"rhsbl_zones": "DNS lists of domains, with the text of the refusal after a blank."}

    async def start(self) -> None:
        self._lists = await self._read_lists()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether there are lists, each answers, and lists what it must (RFC 5782 section 5)."""
        zones = [found.zone for found, _ in await self._read_lists()]
        resolver = self.services.resolver
        async for finding in check_lists(
            resolver, zones, DOMAINS, "rhsbl_zones", idle_without=True
        ):
            yield finding

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or sender.domain is None or sender.has_literal or not self._lists:
            return None
        if self.immune(tx.session):
            return None
        zone, said = await self._find(sender.domain)
        if not zone:
            return None
        tx.session.adjust_karma(-1)
        text = f"Sender's domain is listed by {zone}"
        return self.reject(
            tx.session,
            f"{text}: {said}" if said else text,
            status="5.7.1",
            default="perm",
            reason=f"{sender.domain} is listed by {zone}",
        )

    async def _read_lists(self) -> list[tuple[DnsList, str]]:
        """The lists, and what senders on them are told."""
        services = self.services
        lines = await services.config.lines("rhsbl_zones")
        parts = [line.replace("\t", " ").partition(" ") for line in lines]
        return [
            (DnsList(zone, services.resolver, services.clock, unlisted=DOMAINS[1]), text.strip())
            for zone, _, text in parts
        ]

    async def _find(self, domain: str) -> tuple[str, str]:
        """The list that has the domain, and what it says; both are "" when none has it."""
        lists = self._lists
        answers = await asyncio.gather(*(self._in_time(zone.codes, domain) for zone, _ in lists))
        for (zone, text), codes in zip(lists, answers, strict=True):
            if codes:
                return zone.zone, text or await self._in_time(zone.reason, domain) or ""
        return "", ""

    async def _in_time(self, ask: Callable[[str], Awaitable[T]], domain: str) -> T | None:
        try:
            with time_limit(self.options.timeout):
                return await ask(domain)
        except TimeoutError:
            return None
