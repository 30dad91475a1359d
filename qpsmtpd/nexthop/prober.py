# SPDX-License-Identifier: MIT
"""Prober: asks a next hop whether it takes a recipient, by a transaction without a message.

It has connections of its own: servers slow down and cut off a client that asks about unknown
recipients (Postfix: smtpd_soft_error_limit), and no message may suffer from that.  As with
messages, a connection on which anything was refused is not used again.

`meaning` is how replies are read.  Only what is certainly about the recipient counts as "unknown",
because everything else would refuse good mail.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from qpsmtpd.mail.address import Address, ReversePath
from qpsmtpd.nexthop.client import Client, EnvelopeReplies
from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target
from qpsmtpd.plugin.verification import KNOWN, Verification, unavailable, unknown, unsure

#: Seconds after which one that was not the right server is tried again.
STRANGER = 600.0

#: Connections at a time, of each worker; and seconds that one without questions stays open.
CONNECTIONS = 4
IDLE = 5.0


_HERE = ("127.0.0.1", "localhost")
#: Where we ask from if the next hop is on this machine.  By 127.0.0.1 it knows us, and may let us
#: write to anybody: Debian's Exim does, and bounces what it cannot deliver.
_STRANGER = "127.0.0.2"


class Prober:
    """Asks one next hop; `pool` has the connections for that."""

    def __init__(
        self,
        target: Target,
        *,
        product: str = "",
        keep: bool = True,
        others: Sequence[Target] = (),
        as_stranger: bool = False,
    ) -> None:
        """Nothing is opened yet.

        others: asked in turn when the target fails.
        as_stranger: ask a next hop on this machine from another address first.
        product: a word that the greeting has to have, such as the name of the server.  One without
        it is left alone for a while, as it may be ourselves, and slow to greet.
        keep: whether connections are used again.
        """
        idle = IDLE if keep else 0
        self.pool = Pool(target, size=CONNECTIONS, idle=idle, others=others)
        self._pools = [self.pool]
        if as_stranger and target.host in _HERE and not target.source:
            name = target.tls_name or target.host
            stranger = replace(target, host="127.0.0.1", tls_name=name, source=_STRANGER)
            self._pools.insert(0, Pool(stranger, size=CONNECTIONS, idle=idle))
        self._product = product
        self._strange_until = 0.0

    async def verify(self, recipient: Address, sender: ReversePath = None) -> Verification:
        """What the next hop says about a recipient; waits as long as the caller lets it."""
        verification = unavailable("nobody to ask")
        for pool in self._pools:
            verification = await self._verify(pool, recipient, sender)
            if verification.answer in ("known", "unknown"):
                break
        return verification

    async def _verify(self, pool: Pool, recipient: Address, sender: ReversePath) -> Verification:
        loop, stranger = asyncio.get_running_loop(), f"does not say that it is {self._product}"
        if loop.time() < self._strange_until:
            return unavailable(f"{pool.target}: {stranger}")
        utf8 = not (recipient.is_ascii and (sender is None or sender.is_ascii))

        async def ask(client: Client) -> EnvelopeReplies | None:
            if self._product not in client.greeting:
                self._strange_until = loop.time() + STRANGER
                raise NextHopError(stranger)
            if utf8 and "SMTPUTF8" not in client.extensions:
                return None
            mail = f"MAIL FROM:{sender.path if sender else '<>'}{' SMTPUTF8' if utf8 else ''}"
            return await client.begin(mail, [f"RCPT TO:{recipient.path}"], data=False)

        try:
            replies = await pool.run(ask)
        except NextHopError as error:
            return unavailable(f"{pool}: {error}")
        if replies is None:
            return unsure("no SMTPUTF8")
        if not replies.mail.positive:
            return unavailable(f"{pool}: MAIL: {replies.mail}")
        return meaning(replies.recipients[0])

    async def close(self) -> None:
        """Close the connections; nothing may be asked any more."""
        await asyncio.gather(*(pool.close() for pool in self._pools))


# --- what a reply means ---------------------------------------------------------------------

#: Enhanced status codes (RFC 3463 and the IANA registry) that are about the recipient itself:
#: bad mailbox, bad domain, bad syntax, ambiguous, moved, null MX; disabled, full, and a list that
#: cannot be expanded.  Not among them, though permanent: 5.1.0, 5.1.7 and 5.1.8 are said of
#: senders too; 5.2.3 is about size; 5.3 to 5.6 are about the system, the way there and the
#: protocol; 5.7 is policy, about us or the sender.
_OF_RECIPIENT = frozenset(
    {"5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.2.2", "5.2.4"}
)

#: Codes that say so without a status: no such mailbox (550), not here (551), not allowed as a name
#: (553), a domain that takes no mail (556, RFC 7504).  552 and 554 are said of messages, 501 to 555
#: of our commands, 530 to 538 of our authority.
_BARE_CODES = {550: "5.1.1", 551: "5.1.6", 553: "5.1.1", 556: "5.1.10"}

#: Words by which such a reply is about policy after all, for example "relay not permitted"; and
#: those by which it is not, for example "recipient rejected: unknown user".
_is_policy = re.compile(
    r"relay|permit|den(?:y|ied)|block|polic|auth|access|spam|list|reject|allow|prohibit|sender"
    r"|spf|dkim|dmarc|dns|client|host|\bip\b|limit|later",
    re.IGNORECASE,
).search
_is_absence = re.compile(
    r"no such (?:user|recipient|mailbox|address|person)|(?:user|recipient|mailbox) unknown"
    r"|unknown (?:user|recipient|mailbox|address)|unroute?able address",
    re.IGNORECASE,
).search

#: Characters of a reply that are looked at.
_ENOUGH = 1000

#: Exchange says 5.4.1 and these words of a recipient that is not in its directory.
_is_exchange = re.compile(r"5\.4\.1 Recipient address rejected\b", re.IGNORECASE).match


def meaning(reply: HopReply) -> Verification:
    """What a reply to RCPT says about the recipient."""
    if reply.positive:
        return KNOWN
    text = str(reply)
    if not reply.permanent or reply.closing:
        return unsure(text)
    if reply.status:
        ours = reply.status not in _OF_RECIPIENT and not _is_exchange(reply.lines[-1])
        return unsure(text) if ours else unknown(_plain(reply.status), text)
    if reply.code not in _BARE_CODES or _speaks_of_policy(reply):
        return unsure(text)
    return unknown(_BARE_CODES[reply.code], text)


def _speaks_of_policy(reply: HopReply) -> bool:
    """By its words; those of the address, which are the client's, do not count."""
    text = " ".join(reply.lines)[:_ENOUGH]
    words = " ".join(word for word in text.split() if "@" not in word)
    return bool(_is_policy(words)) and not _is_absence(words)


def _plain(status: str) -> str:
    return status if status in _OF_RECIPIENT else "5.1.1"
