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

A line with the older name check_badmailfrom_patterns reads the file `badmailfrom_patterns`, in
which every entry is an expression.

Differences from the Perl version: an entry without @ was ignored. An expression that has an @ also
stands for the address it spells, so that `user+tag@example.com` works; upper case in expressions
matched nothing; `/expression/` may stand between slashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qpsmtpd.api import (
    AddressList,
    Plugin,
    RejectOptions,
    ReversePath,
    Transaction,
    Verdict,
    made_of,
    opt,
)


@dataclass(frozen=True, kw_only=True)
class BadmailfromOptions(RejectOptions):
    """Options of badmailfrom."""

    patterns: bool = opt(
        False, flag=True, doc="Read the file badmailfrom_patterns, in which all are expressions."
    )


class Badmailfrom(Plugin[BadmailfromOptions]):
    """A blocklist of senders."""

    files = {
        "badmailfrom": "Senders that are refused: addresses, @domains or regular expressions, "
        "and a reason.",
        "badmailfrom_patterns": "Senders that are refused, with `patterns`: regular expressions, "
        "and a reason.",
    }

    async def start(self) -> None:
        file = "badmailfrom_patterns" if self.options.patterns else "badmailfrom"
        entries = await self.services.config.entries(file)
        make = partial(AddressList, patterns=self.options.patterns)
        self._list = await made_of(entries, make)

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or self.immune(tx.session):
            return None
        listed = self._list.find(sender)
        if listed is None:
            return None
        tx.session.adjust_karma(-1)
        text = listed.reason or "Mail from this sender is not accepted here"
        return self.reject(tx.session, text, status="5.7.1", reason=f"listed as {listed.word}")
