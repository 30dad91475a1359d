# SPDX-License-Identifier: MIT
"""The commands MAIL and RCPT: they build the envelope (RFC 5321 sections 4.1.1.2 and 4.1.1.3)."""

from __future__ import annotations

from typing import Literal

from qpsmtpd.mail import dsn, passedon
from qpsmtpd.mail.address import (
    Address,
    Keyword,
    PathError,
    ReversePath,
    common_address,
    decode_xtext,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
    split_arguments,
)
from qpsmtpd.mail.capabilities import offers_extension
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.mail.trail import Answer
from qpsmtpd.plugin.base import ParsedPath
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply

MAIL_PARSERS = frozenset({"mail_parse", "mail_pre"})
RCPT_PARSERS = frozenset({"rcpt_parse", "rcpt_pre"})
_BODY_TYPES = ("7BIT", "8BITMIME")
_BINARY = "BINARYMIME"
_ESMTP_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH"}) | dsn.MAIL_PARAMETERS


async def mail(connection: Connection, argument: str) -> Reply:
    """MAIL: begin a transaction.  A second one starts over, as in the Perl version.

    If it is refused, the first transaction goes on (RFC 5321 section 4.1.4 on refused commands).
    """
    session = connection.session
    if session.hello is None:
        return replies.HELLO_FIRST
    sender: ReversePath = None
    parameters: dict[str, str | None] = {}
    if MAIL_PARSERS.isdisjoint(connection.snapshot.chain.hooks):
        sender = common_address(argument, "FROM")
    if sender is None:
        found = await _sender_of(connection, argument)
        if isinstance(found, Reply):
            return found
        sender, parameters = found
    transaction = Transaction(session, sender, parameters)
    if session.transaction is None and "mail" not in connection.snapshot.chain.hooks:
        # Nobody is to be asked, and nothing ends.
        session.transaction = transaction
        return replies.SENDER_OK
    return await begin_transaction(connection, transaction)


async def _sender_of(
    connection: Connection, argument: str
) -> tuple[ReversePath, dict[str, str | None]] | Reply:
    """The sender and the parameters of MAIL, or what is wrong with them."""
    parsed = _split(argument, "FROM", replies.BAD_SENDER)
    if connection.snapshot.chain.hooks & MAIL_PARSERS:
        parsed = await ask_parsers(connection, "mail", argument, parsed)
    if isinstance(parsed, Reply):
        return parsed
    if parsed.parameters:
        fault = _mail_parameter_fault(connection, parsed.parameters)
        if fault is not None:
            return fault
        if connection.snapshot.settings.dsn == "off":
            dsn.forget(parsed.parameters)
    try:
        sender = parse_reverse_path(parsed.path, utf8=True)
    except PathError:
        return replies.BAD_SENDER
    if not parsed.path.isascii() and "SMTPUTF8" not in parsed.parameters:
        return replies.UTF8_NEEDED
    return sender, parsed.parameters


async def begin_transaction(connection: Connection, transaction: Transaction) -> Reply:
    """Ask the plugins about a new transaction; if they agree, it replaces the one there is."""
    session = connection.session
    if connection.incoming is not None:
        return replies.UNFINISHED
    current = session.transaction
    ended: Transaction | None = transaction
    goes_on = current
    session.transaction = transaction
    try:
        answer = await connection.run("mail", transaction, transaction.reverse_path)
        refusal = None if answer is None else connection.refusal(answer, transaction.sender)
        if refusal is None:
            ended, goes_on = current, transaction
    finally:
        if ended is not None:
            session.transaction = ended
            await connection.reset_transaction()
        session.transaction = goes_on
    if refusal is not None:
        return refusal
    return replies.SENDER_OK if answer is None else reply_to(answer)


def _mail_parameter_fault(
    connection: Connection, parameters: dict[str, str | None]
) -> Reply | None:
    """What is wrong with the ESMTP parameters of MAIL: RFC 1870, 6152, 3030, 6531, 4954, 3461.

    After HELO they are accepted too, as in the Perl version; parse_addr_withhelo refuses them.
    """
    if not parameters.keys() <= _ESMTP_MAIL_PARAMETERS and (
        fault := _passed_on_fault(connection, parameters)
    ):
        return fault
    if "BODY" in parameters and not _takes_body(connection, (parameters["BODY"] or "").upper()):
        return replies.BAD_PARAMETER
    if "SMTPUTF8" in parameters and not _takes_utf8(connection):
        return replies.UNKNOWN_PARAMETER
    if parameters.get("SMTPUTF8") is not None:
        return replies.BAD_PARAMETER
    if "AUTH" in parameters and not _is_submitter(parameters["AUTH"] or ""):
        return replies.BAD_PARAMETER
    if dsn.has_wrong_value(parameters, utf8=False):
        return replies.BAD_PARAMETER
    if "SIZE" in parameters:
        return size_fault(parameters["SIZE"] or "", connection.snapshot.largest_message)
    return None


def _passed_on_fault(connection: Connection, parameters: dict[str, str | None]) -> Reply | None:
    """What is wrong with parameters that are not ours: they have to be of what was offered."""
    others = parameters.keys() - _ESMTP_MAIL_PARAMETERS
    if not others <= passedon.PARAMETERS.keys():
        return replies.UNKNOWN_PARAMETER
    if not all(offers_extension(connection.session, each) for each in passedon.keywords_of(others)):
        return replies.UNKNOWN_PARAMETER
    return replies.BAD_PARAMETER if passedon.has_wrong_value(parameters) else None


def _takes_body(connection: Connection, body_type: str) -> bool:
    """BINARYMIME only from those to whom a plugin that can hand it over has offered it."""
    if body_type == _BINARY:
        return offers_extension(connection.session, _BINARY)
    return body_type in _BODY_TYPES


def _takes_utf8(connection: Connection) -> bool:
    """Whether SMTPUTF8 is offered; after HELO, whether it would be."""
    session = connection.session
    if session.hello == "helo":
        return connection.snapshot.settings.smtputf8
    return offers_extension(session, "SMTPUTF8")


def _is_submitter(value: str) -> bool:
    """Whether AUTH has a mailbox as xtext, or <> for one that nobody knows (RFC 4954 section 5)."""
    if value == "<>":
        return True
    try:
        parse_mailbox(decode_xtext(value), utf8=True)
    except PathError:
        return False
    return True


def size_fault(size: str, limit: int) -> Reply | None:
    """RFC 1870 section 6.1: a message that is too big is refused before it is sent."""
    if not (size.isascii() and size.isdigit() and len(size) <= 20):
        return replies.BAD_PARAMETER
    return replies.TOO_BIG if limit and int(size) > limit else None


async def rcpt(connection: Connection, argument: str) -> Reply:
    """RCPT: add a recipient, if a plugin vouches for it."""
    transaction = connection.session.transaction
    if transaction is None:
        return replies.MAIL_FIRST
    if connection.incoming is not None:
        return replies.UNFINISHED
    address: Address | None = None
    if RCPT_PARSERS.isdisjoint(connection.snapshot.chain.hooks):
        address = common_address(argument, "TO")
    if address is not None:
        recipient = Recipient(address)
    else:
        found = await _recipient_of(connection, transaction, argument)
        if isinstance(found, Reply):
            return found
        recipient = found
    if len(transaction.recipients) >= connection.snapshot.settings.max_recipients:
        return replies.TOO_MANY_RECIPIENTS
    return await decide_recipient(connection, transaction, recipient)


async def _recipient_of(
    connection: Connection, transaction: Transaction, argument: str
) -> Recipient | Reply:
    """The recipient with the parameters of RCPT, or what is wrong with them."""
    parsed = _split(argument, "TO", replies.BAD_RECIPIENT)
    if connection.snapshot.chain.hooks & RCPT_PARSERS:
        parsed = await ask_parsers(connection, "rcpt", argument, parsed)
    if isinstance(parsed, Reply):
        return parsed
    if parsed.parameters:
        fault = _rcpt_parameter_fault(parsed.parameters, transaction.utf8)
        if fault is not None:
            return fault
        if connection.snapshot.settings.dsn == "off":
            dsn.forget(parsed.parameters)
        if dsn.wants_success(parsed.parameters):
            transaction.success_wanted = True
    try:
        address = parse_forward_path(parsed.path, utf8=True)
    except PathError:
        return replies.BAD_RECIPIENT
    if not parsed.path.isascii() and not transaction.utf8:
        return replies.UTF8_NEEDED
    return Recipient(address, parsed.parameters)


def _rcpt_parameter_fault(parameters: dict[str, str | None], utf8: bool) -> Reply | None:
    """What is wrong with the ESMTP parameters of RCPT (RFC 3461)."""
    if not parameters.keys() <= dsn.RCPT_PARAMETERS:
        return replies.UNKNOWN_PARAMETER
    return replies.BAD_PARAMETER if dsn.has_wrong_value(parameters, utf8=utf8) else None


async def decide_recipient(
    connection: Connection, transaction: Transaction, recipient: Recipient
) -> Reply:
    """Ask whether the recipient may be written to, and then whether it exists.

    In this order, so that nobody learns by asking us who exists at hosts that we do not relay to,
    and so that the order of the lines does not matter.
    """
    answer = await connection.run("rcpt", transaction, recipient)
    accepting = None if answer is None or answer.refused else answer
    if accepting is not None or _left_to_host(connection, answer):
        found = None
        if "verify_recipient" in connection.snapshot.chain.hooks:
            found = await connection.run("verify_recipient", transaction, recipient)
        if found is None or not found.refused:
            transaction.recipients.append(recipient)
            return replies.RECIPIENT_OK if accepting is None else reply_to(accepting)
        answer = found
    transaction.refused_recipients += 1
    reply = connection.refusal(answer, str(recipient))
    if reply is None:
        connection.log_refusal("rcpt", replies.NOBODY_DECIDED_RECIPIENT, str(recipient))
        return replies.NOBODY_DECIDED_RECIPIENT
    return reply


def _left_to_host(connection: Connection, answer: Answer | None) -> bool:
    """Whether the mail system that asks us decides about this recipient.

    If no plugin has an opinion; and where a plugin that accepts our recipients has none for others,
    for it is not we who would relay.
    """
    if not connection.session.hosted:
        return False
    if answer is None:
        return True
    return answer.plugin in connection.snapshot.chain.gates and not answer.broken


def _split(argument: str, keyword: Keyword, bad_address: Reply) -> ParsedPath | Reply:
    """Split the argument of MAIL or RCPT into path and parameters."""
    try:
        return ParsedPath(*split_arguments(argument, keyword))
    except PathError as error:
        return bad_address if error.where == "address" else replies.SYNTAX_ERROR


async def ask_parsers(
    connection: Connection,
    command: Literal["mail", "rcpt"],
    argument: str,
    parsed: ParsedPath | Reply,
) -> ParsedPath | Reply:
    """Let plugins split the argument instead of us, and correct the path."""
    session = connection.session
    answer = await connection.run(f"{command}_parse", session, argument)
    if (refusal := connection.refusal(answer, argument)) is not None:
        return refusal
    if answer is not None and isinstance(answer.value, ParsedPath):
        parsed = answer.value
    if isinstance(parsed, Reply):
        return parsed
    answer = await connection.run(f"{command}_pre", session, parsed.path, parsed.parameters)
    if (refusal := connection.refusal(answer, argument)) is not None:
        return refusal
    if answer is None or not isinstance(answer.value, str):
        return parsed
    return ParsedPath(answer.value, parsed.parameters)
