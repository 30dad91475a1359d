# SPDX-License-Identifier: MIT
"""Decisions: what an answer of a handler means for the chain, and for session and transaction."""

from __future__ import annotations

import re
from dataclasses import replace

from qpsmtpd.api import (
    AuthExchange,
    Recipient,
    Session,
    Transaction,
    Verdict,
    defer,
    deny,
    unless_another,
)
from qpsmtpd.handlers import changes
from qpsmtpd.handlers.facts import EnvelopeView
from qpsmtpd.handlers.handlerserver import HandlerAnswer
from qpsmtpd.handlers.statuses import HandlerError, read_status, verdict_of

#: RFC 5321 section 4.5.3.1.2.
MAX_HOST_NAME = 255

_is_word = re.compile(r"[!-~]+").fullmatch

CLOSING = defer("Closing connection", status="4.3.2", disconnect=True, code=421)


def decide(method: str, answer: HandlerAnswer) -> Verdict | None:
    """What this method decided; None if nothing.  Raises HandlerError for nonsense."""
    if answer.said is None:
        return CLOSING if answer.closes else None
    try:
        verdict = verdict_of(read_status(answer.said, hyphens_count=method != "handle_EHLO"))
    except HandlerError as error:
        raise HandlerError(f"{method} {error}") from None
    if not answer.closes:
        return verdict
    if not verdict.accepted:
        return replace(verdict, disconnect=True)
    # A message that was delivered is delivered; the connection ends with the next command.
    return verdict if method == "handle_DATA" else CLOSING


def after_hello(session: Session, answer: HandlerAnswer) -> None:
    """The client is who `host_name` says; if nobody, it has to say HELO or EHLO again."""
    name = answer.host_name
    if not name:
        session.hello, session.hello_host = None, ""
    elif name != session.hello_host:
        if not isinstance(name, str) or len(name) > MAX_HOST_NAME or not _is_word(name):
            raise HandlerError(f"left {name!r} in session.host_name, which is not a host name")
        session.hello_host = name


def after_ehlo(session: Session, verdict: Verdict, *, replaces: bool) -> None:
    """The keywords are those of the reply, whose first line is the greeting; or some more."""
    keywords = [line for line in verdict.text.split("\n") if line.upper() != "HELP"]
    if replaces:
        session.capabilities[:] = keywords[1:]
    else:
        session.capabilities.extend(keywords)


def after_mail(
    tx: Transaction, shown: EnvelopeView, verdict: Verdict, answer: HandlerAnswer
) -> Verdict:
    """The sender is the handler's; plugins further down may still refuse it."""
    if not answer.mail_from:
        raise HandlerError("handle_MAIL said 2xx but did not set envelope.mail_from")
    changes.change_sender(tx, shown.mail_from, answer.mail_from)
    changes.add_parameters(tx, shown.mail_options, answer.mail_options)
    return unless_another(verdict)


def after_rcpt(
    tx: Transaction,
    recipient: Recipient,
    shown: EnvelopeView,
    answer: HandlerAnswer,
    *,
    several: bool,
) -> None:
    """The current recipient is what the handler appended; with `several` there may be more."""
    added, others = changes.split_new(shown.rcpt_tos, answer.rcpt_tos)
    if not added:
        raise HandlerError("handle_RCPT said 2xx but appended nothing to envelope.rcpt_tos")
    if len(added) > 1 and not several:
        raise HandlerError(f"handle_RCPT appended {added!r}: this needs accept_recipients")
    changes.change_recipients(tx, shown.rcpt_tos, [*others, *added[1:]])
    changes.change_recipient(recipient, added[0], tx.utf8)


async def after_filter(tx: Transaction, shown: EnvelopeView, answer: HandlerAnswer) -> None:
    """What goes to the next hop is what the handler left."""
    if not answer.rcpt_tos:
        raise HandlerError("handle_DATA said 2xx but left nobody in envelope.rcpt_tos")
    changes.change_sender(tx, shown.mail_from, answer.mail_from)
    changes.exchange_recipients(tx, shown.rcpt_tos, answer.rcpt_tos)
    if answer.content is not None:
        await changes.change_message(tx, answer.content)


def after_auth(exchange: AuthExchange, answer: HandlerAnswer) -> Verdict:
    """Only a handler that says so in two ways logs a client in."""
    if not answer.said:
        return deny()
    verdict = decide("AUTH", answer)
    assert verdict is not None
    if verdict.accepted and not answer.authenticated:
        raise HandlerError("AUTH said 2xx, but session.authenticated is not True")
    exchange.user = answer.user
    return verdict
