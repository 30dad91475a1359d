# SPDX-License-Identifier: MIT
"""The handover of one message to one next hop, and what its replies mean for our client.

Reply texts are ours; what the next hop said goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from qpsmtpd.mail import dsn
from qpsmtpd.mail.session import Recipient, Success, Transaction
from qpsmtpd.mail.verdict import Verdict, accept, defer, deny
from qpsmtpd.nexthop import blame, hoplimits
from qpsmtpd.nexthop.client import Client, EnvelopeReplies
from qpsmtpd.nexthop.hopenvelope import (
    lacking,
    mail_command,
    message_size,
    needs_utf8,
    rcpt_command,
    takes_binary,
)
from qpsmtpd.nexthop.hoplimits import read_limits
from qpsmtpd.nexthop.hopreply import HopReply, NextHopError
from qpsmtpd.nexthop.metadata import xforward_commands
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.refusals import Refusals

log = logging.getLogger(__name__)

#: 5xx and 4xx codes that are passed on; others become 554 and 451.
_CODES = frozenset({450, 451, 452, 550, 551, 552, 553, 554})

#: What a next hop without SMTPUTF8 would say to a message that needs it (RFC 6531 section 3.5).
NO_UTF8 = HopReply(554, ("5.6.7 no SMTPUTF8",))
#: What stands for a next hop without BINARYMIME (RFC 3463: conversion required).  For now, as it
#: was offered to the client: at the next attempt it is not, and the client can convert the message.
NO_BINARY = HopReply(451, ("4.6.3 no BINARYMIME",))

#: RFC 9422 section 4: what is beyond a limit of the next hop.
TOO_MANY = defer("Too many recipients", status="4.5.3", code=452)
SEVERAL_DOMAINS = defer("Recipient needs a transaction of its own", status="4.5.3", code=452)

#: Octets from which on a message goes in a chunk: nothing of it is copied to double dots.
LARGE = 64 << 10

GoOn = Callable[[Sequence[HopReply]], bool]
#: Says who the client is; returns the refusal, if the next hop refuses that.
Introduce = Callable[[Client], Awaitable[HopReply | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message.

    sent: it was sent as a whole.  Only then does a positive reply mean "taken".
    replies: one for each recipient: the reply to the message, or the refusal before it.
    """

    sent: bool
    replies: tuple[HopReply, ...]

    @property
    def first_taken(self) -> HopReply | None:
        """The first reply that says "taken"; None if there is none."""
        return next((reply for reply in self.replies if self.sent and reply.positive), None)

    @property
    def refused(self) -> bool:
        """Whether every recipient was refused."""
        return not any(reply.positive for reply in self.replies)

    @property
    def some_permanent(self) -> bool:
        """Whether a recipient was refused for good."""
        return any(reply.permanent for reply in self.replies)

    @property
    def temporary(self) -> bool:
        """Whether a recipient was refused for now."""
        return any(not reply.positive and not reply.permanent for reply in self.replies)


async def hand_over(
    client: Client,
    tx: Transaction,
    recipients: Sequence[Recipient],
    *,
    go_on: GoOn,
    lmtp: bool = False,
    xforward: bool = False,
    as_client: bool = False,
) -> Outcome:
    """Send one message to some of its recipients.  Raises NextHopError.

    go_on: given the replies to RCPT, of which some are positive and some are not, says whether to
    send the message to the recipients that were accepted.
    as_client: the next hop takes us for the client, so what it refuses is the client.
    """
    assert tx.message is not None
    if _lacks_utf8(client, tx, recipients):
        return Outcome(False, (NO_UTF8,) * len(recipients))
    if tx.binary and not takes_binary(client.extensions):
        return Outcome(False, (NO_BINARY,) * len(recipients))
    if keyword := lacking(tx, client.extensions):
        return Outcome(False, (HopReply(451, (f"4.3.3 no {keyword}",)),) * len(recipients))
    judge = _Judge(tx, recipients, as_client)
    size = message_size(tx)
    in_chunk = _is_for_chunk(client, tx, recipients, size)
    envelope = await _begin(client, tx, recipients, xforward, data=not in_chunk)
    refusals = judge.envelope(envelope)
    accepted = sum(reply.positive for reply in refusals)
    if not accepted or (accepted < len(refusals) and not go_on(refusals)):
        return Outcome(False, refusals)
    expected = accepted if lmtp else 1
    if in_chunk:
        answers = await client.send_chunk(tx.message.stream(), size, expected)
    else:
        answer = envelope.data or await client.start_data()
        if answer.code != 354:
            refusal = judge.answer(_negative(answer), "DATA")
            return Outcome(False, _merged(refusals, [refusal] * accepted))
        answers = await client.send_message(tx.message.stream(), expected)
    answers = [judge.answer(answer, "message") for answer in answers]
    outcomes = _merged(refusals, answers if lmtp else answers * accepted)
    owed = notice_owed(client.extensions, lmtp=lmtp)
    for recipient, reply in zip(recipients, outcomes, strict=True):
        recipient.success = owed if reply.positive else "none"
    return Outcome(True, outcomes)


def notice_owed(extensions: Collection[str], *, lmtp: bool = False) -> Success:
    """The notice of success that is left to us when a next hop with these keywords has taken it."""
    if dsn.KEYWORD in extensions:
        return "none"
    return "delivered" if lmtp else "relayed"


def _is_for_chunk(
    client: Client, tx: Transaction, recipients: Sequence[Recipient], size: int
) -> bool:
    """Whether the message goes by BDAT: if it has to, or if that saves copying or a round trip.

    With PIPELINING, DATA of a message to one recipient travels with the envelope.
    """
    if tx.binary:
        return True
    if "CHUNKING" not in client.extensions or not client.target.chunking:
        return False
    return len(recipients) > 1 or size >= LARGE


class _Judge:
    """Turns the refusals that are about us into temporary ones, and logs them."""

    def __init__(self, tx: Transaction, recipients: Sequence[Recipient], as_client: bool) -> None:
        self._sender = tx.sender
        self._recipients = recipients
        self._as_client = as_client

    def envelope(self, replies: EnvelopeReplies) -> tuple[HopReply, ...]:
        """The replies to the recipients.  Raises NextHopError if all of them are about us."""
        if not replies.mail.positive:
            answers = (self.answer(replies.mail, "MAIL"),) * len(replies.recipients)
        else:
            pairs = zip(replies.recipients, self._recipients, strict=True)
            answers = tuple(self.answer(reply, "RCPT", recipient) for reply, recipient in pairs)
        if all(ours is not reply for ours, reply in zip(answers, replies.recipients, strict=True)):
            raise NextHopError(f"refuses us: {replies.recipients[0]}", blame.OUR_STATUS, ours=True)
        return answers

    def answer(
        self, reply: HopReply, step: blame.Step, recipient: Recipient | None = None
    ) -> HopReply:
        """The reply, or what stands in for it."""
        if not reply.permanent or self._as_client:
            return reply
        if not blame.concerns_us(reply, step, (self._sender, str(recipient or ""))):
            return reply
        log.error(
            "next hop refuses us step=%s to=%r reply=%r", step, str(recipient or ""), str(reply)
        )
        return blame.as_temporary(reply)


async def _begin(
    client: Client,
    tx: Transaction,
    recipients: Sequence[Recipient],
    xforward: bool,
    *,
    data: bool,
) -> EnvelopeReplies:
    extensions = client.extensions
    before = xforward_commands(tx, extensions.get("XFORWARD", "")) if xforward else []
    return await client.begin(
        mail_command(tx, extensions, logged_in=client.target.credentials is not None),
        [rcpt_command(recipient, extensions) for recipient in recipients],
        before=before,
        data=data and len(recipients) == 1,
    )


def _negative(answer: HopReply) -> HopReply:
    """The reply to DATA, which has to be negative if it is not 354."""
    if answer.code < 400:
        raise NextHopError(f"DATA: {answer}", "4.5.0")
    return answer


def _merged(refusals: Sequence[HopReply], answers: Sequence[HopReply]) -> tuple[HopReply, ...]:
    """Put the answers to the message in the places of the positive replies to RCPT."""
    left = iter(answers)
    return tuple(next(left) if reply.positive else reply for reply in refusals)


async def ask(
    client: Client, tx: Transaction, recipient: Recipient, *, as_client: bool = False
) -> HopReply:
    """Ask the next hop whether it takes a recipient, by a transaction without a message.

    as_client: as in `hand_over`.
    """
    if _lacks_utf8(client, tx, [recipient]):
        return NO_UTF8
    mail = mail_command(tx, client.extensions)
    rcpt = rcpt_command(recipient, client.extensions)
    replies = await client.begin(mail, [rcpt], data=False)
    return _Judge(tx, [recipient], as_client).envelope(replies)[0]


def _lacks_utf8(client: Client, tx: Transaction, recipients: Sequence[Recipient]) -> bool:
    return "SMTPUTF8" not in client.extensions and needs_utf8(tx, recipients)


def room_for(pool: Pool, tx: Transaction, recipient: Recipient) -> Verdict | None:
    """The refusal of a recipient that the next hop would not take in the same transaction.

    It is for now: the client sends that recipient the message in another one.
    """
    if not pool.extensions or (text := pool.extensions.get(hoplimits.KEYWORD)) is None:
        return None
    limits = read_limits(text)
    domains = {each.address.domain for each in (*tx.recipients, recipient)}
    if len(domains) > limits.domains > 0:
        return SEVERAL_DOMAINS
    return TOO_MANY if len(tx.recipients) >= limits.recipients > 0 else None


async def check_recipient(
    pool: Pool,
    tx: Transaction,
    recipient: Recipient,
    introduce: Introduce | None = None,
    *,
    as_client: bool = False,
) -> Verdict | None:
    """The refusal of a recipient by the next hop; None when it takes it.

    introduce: what to do with a new connection first; as_client: as in `hand_over`.
    """

    async def work(client: Client) -> HopReply:
        if introduce is not None and (refusal := await introduce(client)) is not None:
            return refusal
        return await ask(client, tx, recipient, as_client=as_client)

    try:
        reply = await pool.run(work)
    except NextHopError as error:
        return unavailable(pool, error)
    return None if reply.positive else refused(pool, [reply], [recipient])


# --- verdicts -------------------------------------------------------------------------------


def taken(pool: Pool, tx: Transaction, reply: HopReply) -> Verdict:
    """The verdict on a message that was taken; remembers the id it has at the next hop."""
    tx.next_hop_id = reply.queue_id
    log.debug("taken next_hop=%s reply=%r", pool, str(reply))
    text = f"Queued as {tx.next_hop_id}" if tx.next_hop_id else "Queued"
    return accept(_text(pool, [reply], text), status="2.0.0")


def told_apart(pool: Pool, tx: Transaction, outcome: Outcome) -> Verdict:
    """The verdict for a client that is told about each recipient; all of them were handed over."""
    reply, replies = outcome.first_taken, outcome.replies
    if reply is None:
        verdict = refused(pool, replies, tx.recipients)
    else:
        log_refusals(pool, replies, tx.recipients)
        verdict = taken(pool, tx, reply)
    each = (accept() if one.positive else _refusal(pool, [one]) for one in replies)
    return replace(verdict, for_each=tuple(each))


def unavailable(pool: Pool, error: NextHopError) -> Verdict:
    """The verdict when the next hop is down, slow or confused, or does not want us."""
    level = logging.ERROR if error.ours else logging.WARNING
    log.log(level, "next hop unavailable next_hop=%s problem=%r", pool, str(error))
    return defer("Mail system not available, try again later", status=error.status, code=451)


def refused(
    pool: Pool, replies: Sequence[HopReply], recipients: Sequence[Recipient] = ()
) -> Verdict:
    """The verdict when a refusal is the answer for all: a temporary one if there is any.

    recipients: those that the replies belong to, for the log.
    """
    log_refusals(pool, replies, recipients)
    return _refusal(pool, replies)


def _refusal(pool: Pool, replies: Sequence[HopReply]) -> Verdict:
    temporary = any(not reply.positive and not reply.permanent for reply in replies)
    if not temporary:
        code, status = _for_all(replies, 554, "5")
        text = _text(pool, replies, "Refused by the mail system")
        return deny(text, status=status, code=code)
    code, status = _for_all(replies, 451, "4")
    text = _text(pool, replies, "Mail system cannot take the message now")
    return defer(text, status=status, code=code)


def _text(pool: Pool, replies: Sequence[HopReply], usual: str) -> str:
    """The words of the next hop, if the administrator wants them and they are true for all."""
    if not pool.target.words or len(set(replies)) > 1:
        return usual
    return replies[0].words or usual


def _for_all(replies: Sequence[HopReply], code: int, digit: str) -> tuple[int, str]:
    """A code and a status that are true for every recipient, whatever its reply.

    Only the class is known (x.0.0) when they differ; x.3.0 stands for a mail system that says no
    more.
    """
    codes = {reply.code for reply in replies}
    if len(codes) == 1 and codes <= _CODES:
        (code,) = codes
    if any(reply.positive for reply in replies):
        return code, f"{digit}.0.0"
    details = {reply.status[1:] for reply in replies}
    return code, digit + (details.pop() or ".3.0" if len(details) == 1 else ".0.0")


def log_refusals(
    pool: Pool,
    replies: Sequence[HopReply],
    recipients: Sequence[Recipient],
    level: int = logging.INFO,
) -> None:
    """Log what the next hop said, for each recipient that it refused."""
    for number, reply in enumerate(replies):
        if not reply.positive:
            to = str(recipients[number]) if number < len(recipients) else ""
            log.log(level, "refused next_hop=%s to=%r reply=%r", pool, to, str(reply))


def mixed(
    pool: Pool, replies: Sequence[HopReply], recipients: Sequence[Recipient], *, final: bool
) -> Verdict:
    """The verdict on the whole message when the next hop refused some of its recipients for good.

    final: whether the others do not get it either; else the client is to try again.
    """
    log_refusals(pool, replies, recipients)
    if final:
        return deny("Some recipients were refused by the mail system", status="5.0.0", code=550)
    return defer("Some recipients were refused, try again", status="4.0.0", code=451)


def remember_refusals(
    refusals: Refusals,
    tx: Transaction,
    replies: Sequence[HopReply],
    recipients: Sequence[Recipient],
) -> None:
    """Let the recipients that were refused for good be refused at RCPT the next time."""
    for reply, recipient in zip(replies, recipients, strict=True):
        if reply.permanent:
            refusals.add(tx, recipient, reply)
