# SPDX-License-Identifier: MIT
"""The command DATA: read the message, let the plugins decide, hand it over, reply.

One message flows through here in one direction: stream → DataReader → Spool → Message → hooks →
queue hook → reply → log line.  250 is sent only after the queue hook has accepted; until then the
responsibility is the client's, so every other way out is a refusal or a closed connection.

What comes in chunks (BDAT: chunks.py) joins this way when it is complete.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.logs.lines import write_soon
from qpsmtpd.logs.records import Line
from qpsmtpd.mail import passedon
from qpsmtpd.mail.account import Account, of_message
from qpsmtpd.mail.headers import HeaderField, Headers
from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Body, Message
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import accept
from qpsmtpd.metrics.catalogue import (
    AUTHENTICATION,
    MESSAGE_BYTES,
    MESSAGE_SECONDS,
    MESSAGES,
    OUTCOMES,
)
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.smtp import notices, replies, trace
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.datareader import DataReader, whole_message
from qpsmtpd.smtp.foreignresults import remove_claims
from qpsmtpd.smtp.receiver import Receiver
from qpsmtpd.smtp.replies import reply_for, reply_to
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Finds header section and body in a message that is complete, unless it is unusual.
Split = Callable[[bytes, DataLimits], tuple[bytes, bytes] | None]

_ACCEPTED, _DEFERRED, _REFUSED = (FIGURES.series(MESSAGES, outcome) for outcome in OUTCOMES)
_BYTES = FIGURES.series(MESSAGE_BYTES)
_took = FIGURES.series(MESSAGE_SECONDS).note

# By itself: Python looks for a method of what a module has imported each time.
_parse = Headers.parse

_LINE = (
    "message %s ip=%s name=%s helo=%r from=%r to=%r count=%d size=%d plugin=%s next_hop_id=%s"
    " seconds=%.3f message_id=%r reply=%s"
)
#: Characters of a Message-ID that are logged.
MAX_LOGGED_ID = 250


async def data(connection: Connection, argument: str) -> Reply | None:
    """DATA: everything from the command to the reply after the dot."""
    fault = _sequence_fault(connection, argument)
    if fault is not None:
        return connection.out_of_step("data") or fault
    transaction = connection.session.transaction
    assert transaction is not None
    transaction.open_envelope()
    connection.deciding = True
    reply = None
    if "data" in connection.snapshot.chain.hooks:
        reply = await ask(connection, transaction, "data")
    if reply is None or not reply.disconnect:
        reply = connection.out_of_step("data") or reply
    if reply is not None:
        # There is no message yet: one reply in LMTP as well.
        transaction.named = ()
    else:
        reply = await _receive_and_decide(connection, transaction)
    return await end(connection, transaction, reply)


async def end(connection: Connection, transaction: Transaction, reply: Reply) -> Reply | None:
    """End the transaction with this reply to its message; None if it has been given."""
    reply = conclude(connection, transaction, reply)
    if transaction.named or transaction.success_wanted:
        return await _end_with_more(connection, transaction, reply)
    await connection.reset_transaction()
    return reply


async def _end_with_more(
    connection: Connection, transaction: Transaction, reply: Reply
) -> Reply | None:
    """Give a reply for each recipient (LMTP: RFC 2033 section 4.2); tell the sender of success."""
    answers = [_reply_to_each(transaction, recipient, reply) for recipient in transaction.named]
    notice = notices.due(connection, transaction) if reply.positive else None
    await connection.reset_transaction()
    if not answers and notice is None:
        return reply
    connection.say_each(answers or [reply])
    if notice is not None:
        await notices.send(connection, notice)
    return None


def _reply_to_each(transaction: Transaction, recipient: Recipient, reply: Reply) -> Reply:
    """What is said of one recipient; the reply for all where nobody has told them apart."""
    if transaction.for_each:
        for each, verdict in zip(transaction.recipients, transaction.for_each, strict=True):
            if each is recipient:
                return reply_for("queue", verdict)
    return reply


def _sequence_fault(connection: Connection, argument: str) -> Reply | None:
    transaction = connection.session.transaction
    if argument:
        return replies.NO_PARAMETERS
    if transaction is None:
        return replies.MAIL_FIRST
    if connection.incoming is not None:
        return replies.UNFINISHED
    if transaction.mail_parameters and transaction.binary:
        return replies.DATA_IS_BINARY
    return None if transaction.recipients else replies.RCPT_FIRST


async def _receive_and_decide(connection: Connection, transaction: Transaction) -> Reply:
    connection.say(replies.GO_AHEAD)
    block = await connection.wire.read_block()
    if not take_whole(connection, transaction, block, whole_message):
        reply = await _take_in_pieces(connection, transaction, block)
        if reply is not None:
            return reply
    return await decide(connection, transaction)


def take_whole(
    connection: Connection, transaction: Transaction, block: bytes, split: Split
) -> bool:
    """Take a small message that is there already, as most are; False if it needs the long way."""
    snapshot = connection.snapshot
    if transaction.taps or "data_headers_end" in snapshot.chain.hooks:
        return False
    memory = connection.memory
    if len(block) >= snapshot.settings.size_threshold or memory.scarce:
        return False
    if (whole := split(block, snapshot.data_limits)) is None:
        return False
    header, body = whole
    transaction.taps = None
    transaction.received_header = header
    transaction.size = size = len(header) + len(body)
    memory.take(size)
    kept = Body(body, None, len(body), memory, size)
    transaction.message = Message(_parse(header), kept, size, partial(snapshot.new_spool, memory))
    return True


async def _take_in_pieces(
    connection: Connection, transaction: Transaction, block: bytes
) -> Reply | None:
    """Read any message, of which `block` is the beginning.  The refusal when it cannot be taken."""
    snapshot = connection.snapshot
    spool = snapshot.new_spool(connection.memory)
    tolerant = snapshot.settings.barelf == "tolerant"
    reader = DataReader(spool, snapshot.data_limits, tolerant=tolerant)
    receiver = Receiver(connection, transaction, reader, spool)
    try:
        reply = await _read(connection, reader, receiver, block)
        return reply or await receiver.finish()
    finally:
        receiver.close()


async def _read(
    connection: Connection, reader: DataReader, receiver: Receiver, block: bytes
) -> Reply | None:
    """Read to the end of data, unless a plugin does not want to hear the rest."""
    while (rest := reader.feed(block)) is None:
        if (reply := await receiver.settle()) is not None:
            return reply
        block = await connection.wire.read_block()
    if rest:
        connection.wire.unread(rest)
    return await receiver.settle()


async def decide(connection: Connection, transaction: Transaction) -> Reply:
    """Ask the hooks about the whole message, in the order of the Perl version."""
    hooks = connection.snapshot.chain.hooks
    if transaction.tasks is not None and transaction.tasks.under_way:
        # What has nothing to wait for, as the DNS is known, ends in one turn: then no hook waits.
        await asyncio.sleep(0)
    reply = None
    if "data_post_headers" in hooks:
        reply = await ask(connection, transaction, "data_post_headers")
    if reply is None:
        reply = await _add_trace(connection, transaction, hooks)
    for hook in ("data_post", "queue_pre"):
        if reply is None and hook in hooks:
            reply = await ask(connection, transaction, hook)
    if reply is None:
        transaction.envelope_changeable = False
        if connection.snapshot.chain.tags:
            _add_tags(transaction)
        if "sign" in hooks:
            reply = await ask(connection, transaction, "sign")
    return await _queue(connection, transaction) if reply is None else reply


async def ask(connection: Connection, transaction: Transaction, hook: str) -> Reply | None:
    """Run a hook; the reply when it refused."""
    return connection.refusal(await connection.run(hook, transaction), transaction.sender)


async def _add_trace(
    connection: Connection, transaction: Transaction, hooks: frozenset[str]
) -> Reply | None:
    """Put our Authentication-Results and then Received on top of the header section.

    What plugins have added with `add_header` goes on top of both.
    """
    services = connection.snapshot.services
    assert transaction.message is not None
    headers = transaction.message.headers
    if not transaction.session.name_is_known:
        await transaction.session.resolve_client_name()
    fields = _results(transaction, headers, connection.snapshot)
    # Where a mail system asks, the Received field is its own.
    if not transaction.session.hosted:
        if "received_line" in hooks:
            headers.put_on_top(*fields)
            return await _add_received_of_plugin(connection, transaction)
        fields = (trace.received(transaction, services.me, services.version), *fields)
    headers.put_on_top(*fields)
    transaction.put_fields_on_top()
    return None


async def _add_received_of_plugin(connection: Connection, transaction: Transaction) -> Reply | None:
    """Put a Received field on top that a plugin may write in our place."""
    services = connection.snapshot.services
    assert transaction.message is not None
    headers = transaction.message.headers
    info = trace.received_info(transaction)
    answer = await connection.run("received_line", transaction, info)
    if (refusal := connection.refusal(answer, transaction.sender)) is not None:
        return refusal
    if answer is not None and isinstance(answer.value, str):
        headers.prepend("Received", answer.value)
    else:
        headers.put_on_top(trace.received(transaction, services.me, services.version))
    transaction.put_fields_on_top()
    return None


def _results(
    transaction: Transaction, headers: Headers, snapshot: Snapshot
) -> tuple[HeaderField, ...]:
    """Say what we found out about the client, and let nobody else say it in our name."""
    settings, me = snapshot.settings, snapshot.services.me
    authserv_id = snapshot.authserv_id
    if authserv_id is None:
        return ()
    if settings.auth_results_of_others == "rename":
        headers.rename("Authentication-Results", "Original-Authentication-Results")
    removed = remove_claims(headers, (authserv_id, me))
    if removed:
        log.info("forged Authentication-Results removed count=%d", removed)
    return (trace.authentication_results(transaction, authserv_id),)


def _add_tags(transaction: Transaction) -> None:
    """Put what plugins would have refused on top; nobody else can say it in their place."""
    assert transaction.message is not None
    headers = transaction.message.headers
    headers.remove(trace.TAG)
    for answer in (*transaction.session.trail, *transaction.trail):
        if answer.outcome == "tag":
            headers.prepend(trace.TAG, trace.tag_value(answer))


async def _queue(connection: Connection, transaction: Transaction) -> Reply:
    """Hand the message over.  The client cannot interrupt this."""
    if transaction.dropped_by:
        dropped = Answer(transaction.dropped_by, "queue", accept())
        transaction.trail.decide(dropped)
        return reply_to(dropped)
    if connection.session.hosted:
        return replies.LEFT_TO_HOST
    parameters = transaction.mail_parameters
    if parameters and (transaction.binary or passedon.keywords_of(parameters)):
        transaction.left_out |= connection.snapshot.chain.plain_deliverers
    answer = await connection.run("queue", transaction)
    if answer is None:
        log.error(
            "no queue plugin took the message ip=%s",
            connection.session.client.ip,
            extra={"hook": "queue"},
        )
        return replies.NOBODY_QUEUED
    if transaction.named and answer.verdict is not None:
        each = answer.verdict.for_each
        transaction.for_each = each if len(each) == len(transaction.recipients) else ()
    if answer.refused:
        return reply_to(answer)
    if "queue_post" in connection.snapshot.chain.hooks:
        await connection.snapshot.chain.notify("queue_post", connection.session, transaction)
    return reply_to(answer)


def conclude(connection: Connection, transaction: Transaction, reply: Reply) -> Reply:
    """Record the reply to a message, and leave the one line in the log that every message does.

    What became of the message is kept, too.
    """
    session, keeper = connection.session, connection.snapshot.decisions
    if reply.code < 400:
        session.messages += 1
        connection.counters.junk_commands = 0
        outcome = _ACCEPTED
    else:
        reply = connection.refuse("data", reply)
        outcome = _DEFERRED if reply.code < 500 else _REFUSED
    seconds, message_id = time.monotonic() - transaction.started, _message_id(transaction)
    figures = FIGURES.values
    figures[outcome.cell] += 1
    figures[_BYTES.cell] += transaction.size
    _took(seconds)
    if session.auth_results or transaction.auth_results:
        _count_results(transaction)
    account = of_message(transaction, reply.code, str(reply), message_id, seconds)
    if log.isEnabledFor(logging.INFO):
        write_soon(log, partial(_line, account))
    if keeper is not None:
        keeper.keep(account)
    connection.deciding = False
    return reply


def _line(account: Account, created: float) -> Line:
    """The line of a message in the log."""
    recipients = account.recipients
    values = (
        "accepted" if account.code < 400 else "refused",
        account.ip,
        account.name or "-",
        account.helo,
        account.sender,
        recipients[0].address.address if recipients else "",
        len(recipients),
        account.size,
        account.plugin,
        account.next_hop_id or "-",
        account.seconds,
        account.message_id,
        account.reply,
    )
    ids = (account.session, account.ip, account.transaction)
    return Line(log.name, _LINE, values, ids, created)


def _count_results(transaction: Transaction) -> None:
    for result in (*transaction.session.auth_results, *transaction.auth_results):
        FIGURES.count(AUTHENTICATION, result.method, result.result)


def _message_id(transaction: Transaction) -> str:
    """What the mail system behind logs as well; "" if there is none."""
    message = transaction.message
    if message is None:
        return ""
    return printable_ascii(message.headers.peek("Message-ID"), MAX_LOGGED_ID)
