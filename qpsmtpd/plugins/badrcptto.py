# SPDX-License-Identifier: MIT
"""badrcptto: refuse mail to certain recipients.

File `badrcptto`, one entry a line, with a reason after it that the client gets to read:

    former.employee@example.com   gave notice
    @old.example.com
    ^test\\d+@example\\.com$

An entry is an address, a domain with an @ in front (names below it are others), or a regular
expression, recognized by one of `/ ^ $ * + ! % ? \\`; that is found anywhere in the address unless
it is anchored. Case does not matter. Anything else is an error, at start.

Such a recipient is refused at RCPT with 550 5.1.1. Exempt clients may write to everybody, and
anybody may write to `<postmaster>` without a domain. Belongs before rcpt_ok.

Differences from the Perl version: the reason is sent (0.94 ignored it), and without one the reply
does not show the entry. An entry without @ was ignored. An expression that has an @ also stands for
the address it spells; `/expression/` may stand between slashes.
"""

from __future__ import annotations

from qpsmtpd.api import AddressList, NoOptions, Plugin, Recipient, Transaction, Verdict, deny


class Badrcptto(Plugin[NoOptions]):
    """A blocklist of recipients."""

    files = {
        "badrcptto": "Recipients that are refused: addresses, @domains or regular expressions, "
        "and a reason.",
    }

    async def start(self) -> None:
        self._list = AddressList(await self.services.config.entries("badrcptto"))

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if self.immune(tx.session):
            return None
        listed = self._list.find(recipient.address)
        if listed is None:
            return None
        tx.session.adjust_karma(-2)
        self.log.info("fail recipient=%r entry=%r", str(recipient), listed.word)
        return deny(listed.reason or "Mail to this address is not accepted here", status="5.1.1")
