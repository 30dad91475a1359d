# SPDX-License-Identifier: MIT
"""Account: what became of one message or refused command, as the log and the decisions tell it.

It is taken when the client gets its reply.  The texts are composed a little later, several in one
go: by then the session may be somewhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.session import Recipient, Session, Transaction
from qpsmtpd.mail.trail import Answer

#: Where a hook is named, for the answer to a whole message.
MESSAGE = "message"


class Findings(NamedTuple):
    """What was found about client and message."""

    spares_client: bool
    spares_sender: bool
    karma: int | None
    results: Sequence[AuthResult]


# A NamedTuple takes three times as long to make.
@dataclass(slots=True)
class Account:
    """What became of one message, or of one command that was refused; nobody changes it.

    session, transaction: their ids; the latter "" if there is none.
    hook: MESSAGE, or the hook that refused.  plugin: who decided.
    answer: the one that decided last; None for the core.
    reply: with its code.
    name, tls, user: "" for none.  sender: "" for the null reverse-path as well.
    answers: what was said in session and transaction.
    about: what was refused: a recipient, a sender, a host.
    seconds: since MAIL.
    """

    session: str
    transaction: str
    hook: str
    plugin: str
    answer: Answer | None
    code: int
    reply: str
    ip: str
    name: str
    helo: str
    tls: str
    user: str
    sender: str
    findings: Findings | None
    answers: Sequence[Answer]
    about: str = ""
    recipients: Sequence[Recipient] = ()
    size: int = 0
    seconds: float = 0.0
    message_id: str = ""
    next_hop_id: str = ""


def of_message(
    transaction: Transaction, code: int, reply: str, message_id: str, seconds: float
) -> Account:
    """Of a message that gets this reply now."""
    account = _account(
        transaction.session, transaction, MESSAGE, transaction.trail.decided_by, code, reply
    )
    account.recipients, account.size = transaction.recipients, transaction.size
    account.seconds, account.message_id = seconds, message_id
    account.next_hop_id = transaction.next_hop_id
    return account


def of_refusal(
    session: Session, hook: str, plugin: str, code: int, reply: str, about: str
) -> Account:
    """Of what is refused now, before there is a message."""
    account = _account(session, session.transaction, hook, plugin, code, reply)
    account.about = about
    return account


def _account(
    session: Session,
    transaction: Transaction | None,
    hook: str,
    plugin: str,
    code: int,
    reply: str,
) -> Account:
    answers = session.trail.answers
    return Account(
        session.id,
        "" if transaction is None else transaction.id,
        hook,
        plugin,
        (transaction or session).trail.decision,
        code,
        reply,
        session.client.ip,
        session.client_name or "",
        session.hello_host,
        "" if session.tls is None else session.tls.version,
        session.auth_user,
        "" if transaction is None else transaction.sender,
        _findings(session, transaction),
        answers[:] if transaction is None else answers + transaction.trail.answers,
    )


def _findings(session: Session, transaction: Transaction | None) -> Findings | None:
    """What was found until now; None if there is nothing, as is usual."""
    if (
        session.auth_results
        or session.whitelisted_host
        or session.karma_history
        or (transaction and (transaction.auth_results or transaction.whitelisted_sender))
    ):
        return Findings(
            bool(session.whitelisted_host),
            bool(transaction and transaction.whitelisted_sender),
            session.karma_history,
            (*session.auth_results, *(transaction.auth_results if transaction else ())),
        )
    return None
