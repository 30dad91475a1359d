# SPDX-License-Identifier: MIT
"""The command DATA: read the message, let the plugins decide, hand it over, reply.

One message flows through here in one direction: stream → DataReader → Spool → Message → hooks →
queue hook → reply → log line.  250 is sent only after the queue hook has accepted; until then the
responsibility is the client's, so every other way out is a refusal or a closed connection.
"""

from __future__ import annotations

import logging
import time

from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.errors import SpoolError
from qpsmtpd.logs.lines import write_line
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.message import NOT_READ_YET, Message, Spool
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import accept
from qpsmtpd.plugin.taps import Taps
from qpsmtpd.smtp import replies, trace
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.datareader import DataLimits, DataReader, whole_message
from qpsmtpd.smtp.foreignresults import remove_claims
from qpsmtpd.smtp.replies import reply_to
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Characters of a Message-ID that are logged.
MAX_LOGGED_ID = 250


async def data(connection: Connection, argument: str) -> Reply:
    """DATA: everything from the command to the reply after the dot."""
    fault = _sequence_fault(connection, argument)
    if fault is not None:
        return fault
    transaction = connection.session.transaction
    assert transaction is not None
    transaction.envelope_changeable = True
    connection.deciding = True
    reply = None
    if "data" in connection.snapshot.chain.hooks:
        reply = await _ask(connection, transaction, "data")
    if reply is None:
        reply = await _receive_and_decide(connection, transaction)
    if reply.positive:
        connection.session.messages += 1
        connection.counters.junk_commands = 0
    else:
        reply = connection.refuse("data", reply)
    _log_summary(connection, transaction, reply)
    connection.deciding = False
    await connection.reset_transaction()
    return reply


def _sequence_fault(connection: Connection, argument: str) -> Reply | None:
    transaction = connection.session.transaction
    if argument:
        return replies.NO_PARAMETERS
    if transaction is None:
        return replies.MAIL_FIRST
    return None if transaction.recipients else replies.RCPT_FIRST


async def _receive_and_decide(connection: Connection, transaction: Transaction) -> Reply:
    settings = connection.snapshot.settings
    if (refusal := connection.out_of_step()) is not None:
        return refusal
    connection.say(replies.GO_AHEAD)
    block = await connection.wire.read_block()
    spool = Spool(
        settings.spool_dir, settings.size_threshold, connection.memory, settings.spool_mode
    )
    limits = DataLimits(
        settings.databytes,
        settings.max_line_length,
        settings.max_header_size,
        settings.max_headers,
    )
    if not _take_whole(connection, transaction, block, limits, spool):
        reader = DataReader(spool, limits, tolerant=settings.barelf == "tolerant")
        reply = await _take_in_pieces(connection, transaction, reader, spool, block)
        if reply is not None:
            return reply
    return await _decide(connection, transaction, connection.snapshot.chain.hooks)


def _take_whole(
    connection: Connection, transaction: Transaction, block: bytes, limits: DataLimits, spool: Spool
) -> bool:
    """Take a small message that is there already, as most are; False if it needs the long way."""
    if transaction.taps or "data_headers_end" in connection.snapshot.chain.hooks:
        return False
    if not spool.keeps_in_memory(len(block)) or (whole := whole_message(block, limits)) is None:
        return False
    header, body = whole
    transaction.taps = None
    transaction.received_header = header
    transaction.size = size = len(header) + len(body)
    sealed = spool.seal_whole(body, len(header))
    transaction.message = Message(Headers.parse(header), sealed, size, spool)
    return True


async def _take_in_pieces(
    connection: Connection,
    transaction: Transaction,
    reader: DataReader,
    spool: Spool,
    block: bytes,
) -> Reply | None:
    """Read any message, of which `block` is the beginning.  The refusal when it cannot be taken."""
    try:
        reply = await _read(connection, transaction, reader, spool, block)
        if reply is None:
            body = await spool.seal()
            headers = _header_section(transaction, reader)
            transaction.message = Message(headers, body, reader.size, spool)
    except SpoolError as error:
        log.error("spool failed: %s ip=%s", error, connection.session.client.ip)
        return replies.SPOOL_FULL if error.full else replies.SPOOL_FAILED
    finally:
        spool.discard()
    transaction.size = reader.size
    return reply


def _header_section(transaction: Transaction, reader: DataReader) -> Headers:
    """What `hook_data_headers_end` has seen and perhaps changed, if it was asked."""
    if transaction.message is not None:
        return transaction.message.headers
    transaction.received_header = reader.header or b""
    return Headers.parse(transaction.received_header)


async def _read(
    connection: Connection,
    transaction: Transaction,
    reader: DataReader,
    spool: Spool,
    block: bytes,
) -> Reply | None:
    """Read to the end of data.  Returns the refusal when the message cannot be taken."""
    wire = connection.wire
    awaits_header = "data_headers_end" in connection.snapshot.chain.hooks or bool(transaction.taps)
    if not awaits_header:
        transaction.taps = None
    taps: Taps | None = None
    failure: SpoolError | None = None
    while True:
        rest = reader.feed(block)
        if awaits_header and reader.header is not None:
            awaits_header = False
            if (reply := await _headers_end(connection, transaction, reader.header)) is not None:
                return reply
            taps = _begin_taps(transaction, reader)
        if spool.needs_flush and reader.fault is None and failure is None:
            try:
                await spool.flush()
            except SpoolError as error:
                failure = error
        if failure is not None:
            # The session stays in step: the rest is read and thrown away.
            spool.discard()
        if rest is not None:
            break
        block = await wire.read_block()
    if rest:
        wire.unread(rest)
    if failure is not None:
        raise failure
    if reader.fault is not None:
        return replies.DATA_FAULTS[reader.fault]
    return None if taps is None else _tap_fault(connection, transaction, taps)


async def _headers_end(
    connection: Connection, transaction: Transaction, header: bytes
) -> Reply | None:
    """Only a refusal that disconnects, or a fault, counts: the client is still sending."""
    if "data_headers_end" not in connection.snapshot.chain.hooks:
        return None
    transaction.received_header = header
    transaction.message = Message(Headers.parse(header), NOT_READ_YET, len(header))
    answer = await connection.run("data_headers_end", transaction)
    if answer is None or answer.verdict is None:
        return None
    if not (answer.verdict.disconnect or answer.broken):
        return None
    return connection.refusal(answer, transaction.sender)


def _begin_taps(transaction: Transaction, reader: DataReader) -> Taps | None:
    """From here on the body is passed to whoever asked for it."""
    wanted, transaction.taps = transaction.taps, None
    if not wanted:
        return None
    taps = Taps(wanted)
    reader.tap(taps.listen)
    return taps


def _tap_fault(connection: Connection, transaction: Transaction, taps: Taps) -> Reply | None:
    """The refusal that a failed tap causes.  Without one, its plugin skips this message."""
    for plugin, error in taps.faults:
        answer = connection.snapshot.chain.tap_fault(plugin, error)
        transaction.trail.add(answer)
        if answer.refused:
            transaction.trail.decision = answer
            return connection.refusal(answer, transaction.sender)
        transaction.left_out |= {plugin}
    return None


async def _decide(connection: Connection, transaction: Transaction, hooks: frozenset[str]) -> Reply:
    """Ask the hooks about the whole message, in the order of the Perl version."""
    reply = None
    if "data_post_headers" in hooks:
        reply = await _ask(connection, transaction, "data_post_headers")
    if reply is None:
        reply = await _add_trace(connection, transaction, hooks)
    for hook in ("data_post", "queue_pre"):
        if reply is None and hook in hooks:
            reply = await _ask(connection, transaction, hook)
    if reply is None:
        transaction.envelope_changeable = False
        if connection.snapshot.chain.tags:
            _add_tags(transaction)
        if "sign" in hooks:
            reply = await _ask(connection, transaction, "sign")
    return await _queue(connection, transaction) if reply is None else reply


async def _ask(connection: Connection, transaction: Transaction, hook: str) -> Reply | None:
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
    await transaction.session.resolve_client_name()
    _add_results(transaction, headers, connection.snapshot)
    info = trace.received_info(transaction)
    answer = None
    if "received_line" in hooks:
        answer = await connection.run("received_line", transaction, info)
        if (refusal := connection.refusal(answer, transaction.sender)) is not None:
            return refusal
    if answer is not None and isinstance(answer.value, str):
        headers.prepend("Received", answer.value)
    else:
        headers.put_on_top(trace.received(transaction, info, services.me, services.version))
    transaction.put_fields_on_top()
    return None


def _add_results(transaction: Transaction, headers: Headers, snapshot: Snapshot) -> None:
    """Say what we found out about the client, and let nobody else say it in our name."""
    settings, me = snapshot.settings, snapshot.services.me
    authserv_id = settings.me_auth_results or me
    if authserv_id == "none":
        return
    if settings.auth_results_of_others == "rename":
        headers.rename("Authentication-Results", "Original-Authentication-Results")
    removed = remove_claims(headers, (authserv_id, me))
    if removed:
        log.info("forged Authentication-Results removed count=%d", removed)
    headers.put_on_top(trace.authentication_results(transaction, authserv_id))


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
    answer = await connection.run("queue", transaction)
    if answer is None:
        log.error(
            "no queue plugin took the message ip=%s",
            connection.session.client.ip,
            extra={"hook": "queue"},
        )
        return replies.NOBODY_QUEUED
    if answer.refused:
        return reply_to(answer)
    if "queue_post" in connection.snapshot.chain.hooks:
        await connection.snapshot.chain.notify("queue_post", connection.session, transaction)
    return reply_to(answer)


def _log_summary(connection: Connection, transaction: Transaction, reply: Reply) -> None:
    """The one line that every message leaves in the log; and what is kept of it."""
    session, keeper = connection.session, connection.snapshot.decisions
    seconds, message_id = time.monotonic() - transaction.started, _message_id(transaction)
    shown = str(reply)
    write_line(
        log,
        session,
        "message %s ip=%s name=%s helo=%r from=%r to=%r count=%d size=%d plugin=%s next_hop_id=%s"
        " seconds=%.3f message_id=%r reply=%s",
        "accepted" if reply.positive else "refused",
        session.client.ip,
        session.client_name or "-",
        session.hello_host,
        transaction.sender,
        transaction.recipients[0].address.address if transaction.recipients else "",
        len(transaction.recipients),
        transaction.size,
        transaction.trail.decided_by,
        transaction.next_hop_id or "-",
        seconds,
        message_id,
        shown,
    )
    if keeper is not None:
        keeper.keep_message(transaction, reply.code, shown, message_id, seconds)


def _message_id(transaction: Transaction) -> str:
    """What the mail system behind logs as well; "" if there is none."""
    message = transaction.message
    if message is None:
        return ""
    return printable_ascii(message.headers.peek("Message-ID"), MAX_LOGGED_ID)
