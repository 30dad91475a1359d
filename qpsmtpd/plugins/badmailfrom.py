# SPDX-License-Identifier: MIT
"""badmailfrom: refuse mail by its envelope sender.

File `badmailfrom`, one entry a line, with a reason after it that the client gets to read:

    spammer@example.com
    @example.net                we had nothing but spam from this domain
    ^bounce-.*@example\\.org$

An entry is an address, a domain with an @ in front (names below it are others), or a regular
expression, recognized by one of `/ ^ $ * + ! % ? \\`; that is found anywhere in the address unless
it is anchored. Case does not matter. Anything else is an error, at start.

Such a sender is refused at MAIL with 550 5.7.1. Exempt clients and the null sender are not tested.

Differences from the Perl version: an entry without @ was ignored. An expression that has an @ also
stands for the address it spells, so that `user+tag@example.com` works; upper case in expressions
matched nothing; `/expression/` may stand between slashes.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import AddressList, Plugin, RejectOptions, ReversePath, Transaction, Verdict


@dataclass(frozen=True, kw_only=True)
class BadmailfromOptions(RejectOptions):
    """Options of badmailfrom."""


class Badmailfrom(Plugin[BadmailfromOptions]):
    """A blocklist of senders."""

    files = {
        "badmailfrom": "Senders that are refused: addresses, @domains or regular expressions, "
        "and a reason.",
    }

    async def start(self) -> None:
        self._list = AddressList(await self.services.config.entries("badmailfrom"))

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or self.immune(tx.session):
            return None
        listed = self._list.find(sender)
        if listed is None:
            return None
        tx.session.adjust_karma(-1)
        text = listed.reason or "Mail from this sender is not accepted here"
        return self.reject(tx.session, text, status="5.7.1", reason=f"listed as {listed.word}")
