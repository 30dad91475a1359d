# SPDX-License-Identifier: MIT
"""badrcptto: refuse mail to certain recipients.

File `badrcptto`, one entry a line, with a reason after it that the client gets to read:

    former.employee@example.com   gave notice
    @old.example.com
    ^test\\d+@example\\.com$

An entry is an address, a domain with an @ in front (names below it are others), or a regular
expression, recognized by one of `/ ^ $ * + ! % ? \\`; that is found anywhere in the address unless
it is anchored. Case does not matter. Anything else is an error, at start.

Such a recipient is refused at RCPT with 550 5.1.1, to every client: those that may relay and those
on allowlists read as well why a mailbox is closed. Anybody may write to `<postmaster>` without a
domain. Belongs before rcpt_ok.

A line with the older name check_badrcptto_patterns reads the file `badrcptto_patterns`, in which
every entry is an expression.

Differences from the Perl version: the reason is sent (0.94 ignored it), and without one the reply
does not show the entry. Before version 1.01, exempt clients could write to everybody. An entry
without @ was ignored. An expression that has an @ also stands for the address it spells;
`/expression/` may stand between slashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from qpsmtpd.api import AddressList, Plugin, Recipient, Transaction, Verdict, deny, made_of, opt


@dataclass(frozen=True, kw_only=True)
class BadrcpttoOptions:
    """Options of badrcptto."""

    patterns: bool = opt(
        False, flag=True, doc="Read the file badrcptto_patterns, in which all are expressions."
    )


class Badrcptto(Plugin[BadrcpttoOptions]):
    """A blocklist of recipients."""

    files = {
        "badrcptto": "Recipients that are refused: addresses, @domains or regular expressions, "
        "and a reason.",
        "badrcptto_patterns": "Recipients that are refused, with `patterns`: regular expressions, "
        "and a reason.",
    }

    async def start(self) -> None:
        file = "badrcptto_patterns" if self.options.patterns else "badrcptto"
        entries = await self.services.config.entries(file)
        make = partial(AddressList, patterns=self.options.patterns)
        self._list = await made_of(entries, make)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        listed = self._list.find(recipient.address)
        if listed is None:
            return None
        tx.session.adjust_karma(-2)
        self.log.info("fail recipient=%r entry=%r", str(recipient), listed.word)
        return deny(listed.reason or "Mail to this address is not accepted here", status="5.1.1")
