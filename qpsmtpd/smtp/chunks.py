# SPDX-License-Identifier: MIT
"""The command BDAT (RFC 3030): the message comes in chunks, whose sizes are known beforehand.

    BDAT 1000          1000 octets of the message, 250
    BDAT 86 LAST       the last 86, and the reply to the message, as after the dot of DATA

The octets of a chunk follow the command at once, whatever we think of it.  So they are read and
thrown away if it is refused, and they are never taken for commands: a command that does not say how
many there are ends the connection.  The first refusal ends the transaction; chunks that were on
their way already get 503.  Between two chunks there is no MAIL, RCPT, DATA, AUTH or STARTTLS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from qpsmtpd.mail.session import Transaction
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.chunkreader import ChunkReader
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.datareader import whole_text
from qpsmtpd.smtp.receiver import Receiver
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.smtp.transfer import ask, decide, end, take_whole

#: RFC 3030 section 2; twenty digits as in SIZE (RFC 1870).
_chunk = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE).fullmatch


class Chunk(NamedTuple):
    """What BDAT announces: how many octets follow, and whether they are the last of the message."""

    size: int
    last: bool


@dataclass(slots=True)
class Chunks:
    """A message of which some chunks have come."""

    reader: ChunkReader
    receiver: Receiver
    #: When the message has to be complete, by the clock of the event loop.
    deadline: float = 0.0

    def close(self) -> None:
        """Forget what has come, unless it is complete."""
        self.receiver.close()


async def bdat(connection: Connection, argument: str) -> Reply | None:
    """BDAT: one chunk; with the last one, everything up to the reply to the message."""
    chunk = _parsed(argument)
    if chunk is None:
        return replies.BAD_CHUNK
    refusal = _sequence_fault(connection)
    if refusal is not None:
        await _skip(connection, chunk.size)
        return refusal
    transaction = connection.session.transaction
    assert transaction is not None
    connection.deciding = True
    reply = await _begin(connection, transaction) if connection.incoming is None else None
    if reply is None:
        reply = await _take(connection, transaction, chunk)
    elif not reply.disconnect:
        await _skip(connection, chunk.size)
    if reply is not None:
        if not chunk.last:
            # RFC 2033 section 4.3: only the last chunk has a reply for each recipient.
            transaction.named = ()
        return await end(connection, transaction, reply)
    connection.deciding = False
    if not chunk.size:
        # Nothing that is worth anything: so nobody can go on like this for ever.
        connection.counters.junk_commands += 1
    return replies.CHUNK_OK


def _parsed(argument: str) -> Chunk | None:
    match = _chunk(argument)
    return Chunk(int(match[1]), match[2] is not None) if match else None


def _sequence_fault(connection: Connection) -> Reply | None:
    session = connection.session
    if not connection.snapshot.settings.chunking:
        return replies.NOT_IMPLEMENTED
    if session.hello != "ehlo":
        return replies.EHLO_FIRST
    if session.transaction is None:
        return replies.MAIL_FIRST
    return None if session.transaction.recipients else replies.RCPT_FIRST


async def _begin(connection: Connection, transaction: Transaction) -> Reply | None:
    """The first chunk stands for DATA as well."""
    transaction.open_envelope()
    if "data" not in connection.snapshot.chain.hooks:
        return None
    transaction.session.sends_chunk = True
    try:
        return await ask(connection, transaction, "data")
    finally:
        transaction.session.sends_chunk = False


async def _take(connection: Connection, transaction: Transaction, chunk: Chunk) -> Reply | None:
    """Read a chunk.  The reply that ends the transaction; None if more is to come."""
    incoming = connection.incoming
    if incoming is None:
        if chunk.last and await _take_whole(connection, transaction, chunk.size):
            return await decide(connection, transaction)
        incoming = connection.incoming = _begun(connection, transaction)
    assert isinstance(incoming, Chunks)
    reply = await _read(connection, incoming, chunk)
    if reply is None and chunk.last:
        reply = await incoming.receiver.finish() or await decide(connection, transaction)
    return reply


async def _take_whole(connection: Connection, transaction: Transaction, size: int) -> bool:
    """Take a small message that is there already; False if it needs the long way."""
    if not size or transaction.binary:
        return False
    text = await connection.wire.read_octets(size)
    if len(text) == size and take_whole(connection, transaction, text, whole_text):
        return True
    connection.wire.unread(text)
    return False


def _begun(connection: Connection, transaction: Transaction) -> Chunks:
    spool = connection.snapshot.new_spool(connection.memory)
    reader = ChunkReader(
        spool,
        connection.snapshot.data_limits,
        tolerant=connection.snapshot.settings.barelf == "tolerant",
        binary=transaction.binary,
    )
    return Chunks(reader, Receiver(connection, transaction, reader, spool))


async def _read(connection: Connection, incoming: Chunks, chunk: Chunk) -> Reply | None:
    """Read a chunk.  The refusal of what has come so far."""
    wire, reader, receiver = connection.wire, incoming.reader, incoming.receiver
    wire.resume_message(incoming.deadline)
    reader.expect(chunk.size)
    left = chunk.size
    while left:
        block = await wire.read_octets(left)
        left -= len(block)
        reader.feed(block)
        if (reply := await receiver.settle()) is not None:
            return reply
    if chunk.last:
        reader.finish()
        if (reply := await receiver.settle()) is not None:
            return reply
    incoming.deadline = wire.message_deadline
    return receiver.fault()


async def _skip(connection: Connection, size: int) -> None:
    """Read the octets of a chunk that nobody wants."""
    while size:
        size -= len(await connection.wire.read_octets(size))
