# SPDX-License-Identifier: MIT
"""queue/lmtp: hand every message to a mail store by LMTP (RFC 2033), e.g. Dovecot or Cyrus.

    queue/lmtp unix:/run/dovecot/lmtp
    queue/lmtp store.internal 24 tls=require

The store answers for each recipient, but our client gets one reply for all of them:

    the store                    the client gets
    ---------------------------  ----------------------------------------
    takes it for all             250
    refuses it for all           its 5xx
    is down, slow, breaks off    451 4.4.1, 4.4.2 (it may arrive twice)
    refuses us, not the message  451 4.3.5, and an ERROR in the log
    takes it for some, 4xx for   451 4.0.0, and the client tries again;
        others                   those who already have the message are
                                 remembered, and do not get it again
    takes it for some, 5xx for
        others
        mixed=defer (default)    451 4.0.0 as well; when the client tries
                                 again, the others are refused at RCPT
        mixed=reject             550 5.0.0; nobody gets it if the store
                                 refused at RCPT; else some have it, and
                                 the sender is told that it failed for
                                 some
        mixed=accept             250; the refused recipients get nothing,
                                 which only the log says (as an ERROR)
    has no SMTPUTF8 that is      554 5.6.7
        needed

So no message is lost silently unless mixed=accept permits it. What is remembered lives in the
worker: after a restart, or with another worker, a second attempt delivers to everybody again. Who
has a message is remembered for the time of the option `remember`; messages are recognized by
sender, Message-ID, Date, From and body, not by what we add. Who was refused is remembered for four
hours, by sender and recipient. A status is true for all recipients: x.0.0 where they differ.

A client that speaks LMTP itself gets the store's answer for each recipient, and none of the above
is needed.

The plugin verify_recipients asks the store as early as RCPT, so that unknown users are refused
there and the mixed cases hardly occur. With `check-recipients=yes` every answer counts, also a
refusal for now, as in queue/smtp-forward.

The words of the store's replies are only in the log. PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN and
the reuse of connections are as in queue/smtp-forward.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    Finding,
    Plugin,
    Recipient,
    ReversePath,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    Verification,
    accept,
    matching,
    opt,
    unless_another,
)
from qpsmtpd.nexthop import (
    Client,
    Delivered,
    HopReply,
    NextHopError,
    NextHopOptions,
    Outcome,
    Prober,
    Refusals,
    Target,
    check_next_hop,
    check_recipient,
    fingerprint,
    hand_over,
    is_host,
    log_refusals,
    make_pool,
    mixed,
    notice_owed,
    offer_extensions,
    refused,
    remember_refusals,
    room_for,
    taken,
    told_apart,
    unavailable,
)

#: What stands for the reply of a store that has taken the message before.
TAKEN = HopReply(250)


def _is_place(text: str) -> bool:
    return text.startswith("unix:/") or bool(is_host(text))


@dataclass(frozen=True, kw_only=True)
class LmtpOptions(NextHopOptions):
    """Options of queue/lmtp."""

    host: str = opt(
        doc="unix:/path of the store's socket, or its host name or IP address.",
        positional=True,
        check=matching(_is_place, "unix:/PATH, a host name or an IP address"),
    )
    port: int = opt(24, least=1, most=65535, doc="Its port.", positional=True)
    mixed: Literal["defer", "reject", "accept"] = opt(
        "defer", doc="What to do when the store permanently refuses some recipients, but not all."
    )
    remember: Seconds = opt(
        Seconds(5 * 86400), doc="How long to remember who already has a deferred message."
    )

    def check(self) -> list[str]:
        """Problems that show only with all options known."""
        problems = super().check()
        if self.path and self.tls != "off":
            problems.append("tls: there is no TLS over a unix socket")
        return problems

    @property
    def path(self) -> str:
        """The path of the socket; "" for TCP."""
        return self.host.removeprefix("unix:") if self.host.startswith("unix:") else ""


class Lmtp(Plugin[LmtpOptions]):
    """Deliver by LMTP."""

    passes_on = True

    async def start(self) -> None:
        files = self.services.config.path
        self._pool = await make_pool(self.name, self.options, self._target(), files)
        self._prober = Prober(self._pool.target)
        self._refusals = Refusals(self.services.clock)
        self._delivered = Delivered(self.services.clock, seconds=self.options.remember)

    def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the store answers, and is not this daemon itself."""
        files = self.services.config.path
        return check_next_hop(system, self.name, self.options, self._target(), files)

    async def knows_recipient(self, recipient: Recipient, sender: ReversePath) -> Verification:
        return await self._prober.verify(recipient.address, sender)

    def largest_message(self) -> int:
        return self._pool.largest_message

    async def hook_ehlo(self, session: Session, host: str) -> None:
        offer_extensions(session, [self._pool.extensions])

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if known := self._refusals.of(tx, recipient):
            return refused(self._pool, [known], [recipient])
        if full := room_for(self._pool, tx, recipient):
            return full
        if not self.options.check_recipients:
            return None

        return await check_recipient(self._prober.pool, tx, recipient)

    async def hook_queue(self, tx: Transaction) -> Verdict:
        if tx.session.lmtp:
            return await self._hand_over_for_each(tx)
        message = await fingerprint(tx) if self._delivered else b""
        known = self._delivered.recipients(message)
        missing = [recipient for recipient in tx.recipients if str(recipient) not in known]
        for recipient in tx.recipients:
            recipient.success = notice_owed(self._pool.extensions or (), lmtp=True)
        if not missing:
            return accept("Delivered", status="2.0.0")

        async def work(client: Client) -> Outcome:
            return await hand_over(client, tx, missing, go_on=self._go_on, lmtp=True)

        try:
            outcome = await self._pool.run(work)
        except NextHopError as error:
            verdict = unavailable(self._pool, error)
            return verdict if known or error.in_doubt else unless_another(verdict)
        others_have_it = len(missing) < len(tx.recipients)
        if outcome.temporary or (self.options.mixed == "defer" and outcome.some_permanent):
            await self._remember(tx, missing, outcome)
        else:
            self._delivered.forget(message)
        return self._verdict(tx, missing, outcome, others_have_it)

    async def _hand_over_for_each(self, tx: Transaction) -> Verdict:
        """For a client that is told what becomes of each, so that nothing has to be remembered."""

        async def work(client: Client) -> Outcome:
            return await hand_over(client, tx, tx.recipients, go_on=lambda _: True, lmtp=True)

        try:
            return told_apart(self._pool, tx, await self._pool.run(work))
        except NextHopError as error:
            verdict = unavailable(self._pool, error)
            return verdict if error.in_doubt else unless_another(verdict)

    async def stop(self) -> None:
        await self._prober.close()
        await self._pool.close()

    def _target(self) -> Target:
        options = self.options
        return Target(
            host="" if options.path else options.host.strip("[]"),
            port=options.port,
            path=options.path,
            hello=self.services.me,
            lmtp=True,
        )

    # --- what the store said ----------------------------------------------------------------

    def _go_on(self, replies: Sequence[HopReply]) -> bool:
        return self.options.mixed == "accept" or not any(reply.permanent for reply in replies)

    async def _remember(
        self, tx: Transaction, missing: Sequence[Recipient], outcome: Outcome
    ) -> None:
        remember_refusals(self._refusals, tx, outcome.replies, missing)
        if outcome.first_taken is None:
            return
        pairs = zip(missing, outcome.replies, strict=True)
        have = [str(recipient) for recipient, reply in pairs if reply.positive]
        self._delivered.add(await fingerprint(tx), have)

    def _verdict(
        self, tx: Transaction, missing: Sequence[Recipient], outcome: Outcome, others_have_it: bool
    ) -> Verdict:
        """The one reply for all, also for those who had the message before."""
        reply, replies = outcome.first_taken, outcome.replies
        if outcome.temporary:
            return refused(self._pool, [*replies, *[TAKEN] * others_have_it], missing)
        if outcome.refused and not others_have_it:
            return refused(self._pool, replies, missing)
        if outcome.some_permanent:
            if self.options.mixed != "accept" or (reply is None and not others_have_it):
                final = self.options.mixed == "reject"
                return mixed(self._pool, replies, missing, final=final)
            log_refusals(self._pool, replies, missing, logging.ERROR)
        return taken(self._pool, tx, reply or TAKEN)
