# SPDX-License-Identifier: MIT
"""The commands MAIL and RCPT: they build the envelope (RFC 5321 sections 4.1.1.2 and 4.1.1.3)."""

from __future__ import annotations

from typing import Literal

from qpsmtpd import log as logs
from qpsmtpd.address import PathError, parse_forward_path, parse_reverse_path, split_arguments
from qpsmtpd.plugin import ParsedPath
from qpsmtpd.session import Recipient, Transaction
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.replies import reply_for
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.verdict import Verdict

_BODY_TYPES = ("7BIT", "8BITMIME")
_ESMTP_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH"})


async def mail(connection: Connection, argument: str) -> Reply:
    """MAIL: begin a transaction.  A second one starts over, as in the Perl version."""
    session = connection.session
    await connection.reset_transaction()
    if session.hello is None:
        return replies.HELLO_FIRST
    parsed = await _parse(connection, "mail", "FROM", argument)
    if isinstance(parsed, Reply):
        return parsed
    fault = _mail_parameter_fault(connection, parsed.parameters)
    if fault is not None:
        return fault
    try:
        sender = parse_reverse_path(parsed.path, utf8=True)
    except PathError:
        return replies.BAD_SENDER
    if sender is not None and not sender.is_ascii and "SMTPUTF8" not in parsed.parameters:
        return replies.UTF8_NEEDED
    transaction = Transaction(session, sender, parsed.parameters)
    session.transaction = transaction
    logs.bind(transaction=transaction.id)
    verdict = await connection.run("mail", transaction, sender)
    reply = connection.refusal("mail", verdict, transaction.sender)
    if reply is not None:
        await connection.reset_transaction()
        return reply
    return replies.SENDER_OK if verdict is None else reply_for("mail", verdict)


def _mail_parameter_fault(
    connection: Connection, parameters: dict[str, str | None]
) -> Reply | None:
    """What is wrong with the ESMTP parameters of MAIL: RFC 1870, 6152, 6531, 4954.

    They are taken after HELO too, as in the Perl version; parse_addr_withhelo refuses them there.
    """
    if not parameters:
        return None
    if not parameters.keys() <= _ESMTP_MAIL_PARAMETERS:
        return replies.UNKNOWN_PARAMETER
    if "BODY" in parameters and (parameters["BODY"] or "").upper() not in _BODY_TYPES:
        return replies.BAD_PARAMETER
    if parameters.get("SMTPUTF8") is not None or parameters.get("AUTH", "") is None:
        return replies.BAD_PARAMETER
    if "SIZE" in parameters:
        return _size_fault(parameters["SIZE"] or "", connection.snapshot.settings.databytes)
    return None


def _size_fault(size: str, limit: int) -> Reply | None:
    """RFC 1870 section 6.1: too big is told before the message is sent."""
    if not (size.isascii() and size.isdigit() and len(size) <= 20):
        return replies.BAD_PARAMETER
    return replies.TOO_BIG if limit and int(size) > limit else None


async def rcpt(connection: Connection, argument: str) -> Reply:
    """RCPT: add a recipient, if a plugin vouches for it."""
    transaction = connection.session.transaction
    if transaction is None:
        return replies.MAIL_FIRST
    parsed = await _parse(connection, "rcpt", "TO", argument)
    if isinstance(parsed, Reply):
        return parsed
    if parsed.parameters:
        return replies.UNKNOWN_PARAMETER
    try:
        address = parse_forward_path(parsed.path, utf8=True)
    except PathError:
        return replies.BAD_RECIPIENT
    if not address.is_ascii and not transaction.utf8:
        return replies.UTF8_NEEDED
    if len(transaction.recipients) >= connection.snapshot.settings.max_recipients:
        return replies.TOO_MANY_RECIPIENTS
    return await _decide(connection, transaction, Recipient(address, parsed.parameters))


async def _decide(connection: Connection, transaction: Transaction, recipient: Recipient) -> Reply:
    verdict = await connection.run("rcpt", transaction, recipient)
    if verdict is not None and verdict.accepted:
        transaction.recipients.append(recipient)
        return reply_for("rcpt", verdict)
    transaction.refused_recipients += 1
    reply = connection.refusal("rcpt", verdict, str(recipient))
    if reply is None:
        connection.log_refusal("rcpt", replies.NOBODY_DECIDED_RECIPIENT, str(recipient))
        return replies.NOBODY_DECIDED_RECIPIENT
    return reply


async def _parse(
    connection: Connection,
    command: Literal["mail", "rcpt"],
    keyword: Literal["FROM", "TO"],
    argument: str,
) -> ParsedPath | Reply:
    """Split the argument of MAIL or RCPT; plugins may do it, and may mend the path."""
    supplied = await _ask_parser(connection, f"{command}_parse", argument)
    if isinstance(supplied, Verdict) and not supplied.accepted:
        return reply_for(f"{command}_parse", supplied)
    if isinstance(supplied, ParsedPath):
        parsed = supplied
    else:
        try:
            parsed = ParsedPath(*split_arguments(argument, keyword))
        except PathError as error:
            bad_address = replies.BAD_SENDER if command == "mail" else replies.BAD_RECIPIENT
            return bad_address if error.where == "address" else replies.SYNTAX_ERROR
    return await _mend_path(connection, f"{command}_pre", parsed)


async def _ask_parser(connection: Connection, hook: str, argument: str) -> object:
    if not connection.snapshot.chain.has(hook):
        return None
    return await connection.snapshot.chain.run_value(
        hook, connection.session, connection.session, argument
    )


async def _mend_path(connection: Connection, hook: str, parsed: ParsedPath) -> ParsedPath | Reply:
    chain = connection.snapshot.chain
    if not chain.has(hook):
        return parsed
    mended = await chain.run_value(
        hook, connection.session, connection.session, parsed.path, parsed.parameters
    )
    if isinstance(mended, Verdict):
        return reply_for("mail_parse", mended)
    return parsed if mended is None else ParsedPath(mended, parsed.parameters)
