# SPDX-License-Identifier: MIT
"""Refusals: recipients that the next hop refused for good after we had accepted them.

One reply to our client cannot say "these, but not those".  So the whole message is deferred, and
when the client tries again, those recipients are refused at RCPT, where each has a reply of its
own: the others get the message, and the sender learns who does not.  The memory lives in one
worker; at another one the message is deferred once more.
"""

from __future__ import annotations

from collections import OrderedDict

from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.nexthop.hopreply import HopReply
from qpsmtpd.plugin.services import Clock

#: Seconds for which a refusal is remembered: long enough for the next attempts of a client, short
#: enough for a mailbox that has been made since.
REMEMBERED = 4 * 3600.0
#: How many are remembered at once.
MOST = 10000


class Refusals:
    """Remembers refusals by sender and recipient, since either may be the reason."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Oldest first: sender and recipient → when, and the reply.
        self._entries: OrderedDict[tuple[str, str], tuple[float, HopReply]] = OrderedDict()

    def add(self, tx: Transaction, recipient: Recipient, reply: HopReply) -> None:
        """Remember what the next hop said."""
        key = _key(tx, recipient)
        self._entries.pop(key, None)
        self._entries[key] = (self._clock.monotonic(), reply)
        while len(self._entries) > MOST:
            self._entries.popitem(last=False)

    def of(self, tx: Transaction, recipient: Recipient) -> HopReply | None:
        """What the next hop said; None if nothing is known."""
        limit = self._clock.monotonic() - REMEMBERED
        while self._entries and next(iter(self._entries.values()))[0] < limit:
            self._entries.popitem(last=False)
        entry = self._entries.get(_key(tx, recipient))
        return entry[1] if entry else None


def _key(tx: Transaction, recipient: Recipient) -> tuple[str, str]:
    sender = tx.reverse_path.key if tx.reverse_path else ""
    return sender, recipient.address.key
