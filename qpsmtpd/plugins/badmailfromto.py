# SPDX-License-Identifier: MIT
"""badmailfromto: refuse mail from certain senders to certain recipients.

File `badmailfromto`, one pair a line, white space between them:

    spammer@example.com    user@example.org
    @example.net           user@example.org

The first word is an address or a domain with an @ in front, the second an address; case does not
matter. Anything else is an error, at start. Mail from the one to the other is refused at RCPT with
550 5.7.1. Exempt clients and the null sender are not tested. Belongs before rcpt_ok.

Differences from the Perl version: when several lines had the same sender in different forms only
the last of them counted. Any white space may separate the words (0.94 wanted a tab).
"""

from __future__ import annotations

from qpsmtpd.api import (
    ConfigError,
    Entry,
    NoOptions,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    address_key,
    deny,
    made_of,
    read_each,
)


class Badmailfromto(Plugin[NoOptions]):
    """A blocklist of pairs of sender and recipient."""

    files = {"badmailfromto": "Pairs of sender and recipient that are refused."}

    async def start(self) -> None:
        entries = await self.services.config.entries("badmailfromto")
        self._pairs = await made_of(entries, lambda lines: frozenset(read_each(lines, _pair)))

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        sender = tx.reverse_path
        if sender is None or sender.domain is None or self.immune(tx.session):
            return None
        to = recipient.address.key
        if self._pairs.isdisjoint({(sender.key, to), (f"@{sender.domain}", to)}):
            return None
        return deny("Mail from this sender to this address is not accepted here", status="5.7.1")


def _pair(entry: Entry) -> tuple[str, str]:
    words = entry.text.split()
    if len(words) != 2 or not all("@" in word for word in words) or words[1].startswith("@"):
        raise ConfigError(entry.where, "must be: user@domain or @domain, then user@domain")
    return address_key(words[0]), address_key(words[1])
