# SPDX-License-Identifier: MIT
"""Receiver: a message while it comes, whichever command brings it.

A reader (datareader.py, chunkreader.py) takes the message out of the stream and writes it to the
spool.  What else is due meanwhile happens here: the hook about the header section, the taps of
plugins, the spool's way to the disk; and at the end the Message of the transaction.
"""

from __future__ import annotations

import logging

from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.message import NOT_READ_YET, Message, Spool
from qpsmtpd.mail.session import Transaction
from qpsmtpd.plugin.taps import Taps
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.datareader import DataFault, Reader
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)


class Receiver:
    """Goes along with one message: `settle` after whatever was fed, `finish` at its end."""

    def __init__(
        self, connection: Connection, transaction: Transaction, reader: Reader, spool: Spool
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._reader = reader
        self._spool = spool
        self._asks = "data_headers_end" in connection.snapshot.chain.hooks
        self._awaits_header = self._asks or bool(transaction.taps)
        if not self._awaits_header:
            transaction.taps = None
        self._taps: Taps | None = None
        self._failure: SpoolError | None = None

    async def settle(self) -> Reply | None:
        """What is due after the reader was fed.  The refusal, if the rest is not even read."""
        self._transaction.size = self._reader.size
        if self._awaits_header and self._reader.header is not None:
            self._awaits_header = False
            if (reply := await self._headers_end(self._reader.header)) is not None:
                return reply
            self._begin_taps()
        if self._spool.needs_flush and self._reader.fault is None and self._failure is None:
            try:
                await self._spool.flush()
            except SpoolError as error:
                self._failure = error
        if self._failure is not None:
            # The session stays in step: the rest is read and thrown away.
            self._spool.discard()
        return None

    async def finish(self) -> Reply | None:
        """Make the message that of the transaction.  The refusal when it cannot be taken."""
        if (reply := self.fault()) is not None:
            return reply
        try:
            body = await self._spool.seal()
        except SpoolError as error:
            return self._not_stored(error)
        self._transaction.message = Message(
            self._header_section(), body, self._reader.size, self._spool.another
        )
        return None

    def fault(self) -> Reply | None:
        """The refusal of what has come so far; None if nothing is wrong with it."""
        if self._failure is not None:
            return self._not_stored(self._failure)
        if self._reader.fault is not None:
            return self._refusal(self._reader.fault)
        return None if self._taps is None else self._tap_fault(self._taps)

    def _refusal(self, fault: DataFault) -> Reply:
        closes = self._connection.snapshot.settings.barelf == "close"
        if closes and fault is DataFault.BARE_LINE_END:
            return replies.SMUGGLING
        return replies.DATA_FAULTS[fault]

    def close(self) -> None:
        """Free what is not the message's by now."""
        self._spool.discard()

    def _not_stored(self, error: SpoolError) -> Reply:
        log.error("spool failed: %s ip=%s", error, self._connection.session.client.ip)
        return replies.SPOOL_FULL if error.full else replies.SPOOL_FAILED

    def _header_section(self) -> Headers:
        """What `hook_data_headers_end` has seen and perhaps changed, if it was asked."""
        transaction = self._transaction
        if transaction.message is not None:
            return transaction.message.headers
        transaction.received_header = self._reader.header or b""
        return Headers.parse(transaction.received_header)

    async def _headers_end(self, header: bytes) -> Reply | None:
        """Only a refusal that disconnects, or a fault, counts: the client is still sending."""
        if not self._asks:
            return None
        connection, transaction = self._connection, self._transaction
        transaction.received_header = header
        transaction.message = Message(Headers.parse(header), NOT_READ_YET, len(header))
        answer = await connection.run("data_headers_end", transaction)
        if answer is None or answer.verdict is None:
            return None
        if not (answer.verdict.disconnect or answer.broken):
            return None
        return connection.refusal(answer, transaction.sender)

    def _begin_taps(self) -> None:
        """From here on the body is passed to whoever asked for it."""
        wanted, self._transaction.taps = self._transaction.taps, None
        if wanted:
            self._taps = Taps(wanted)
            self._reader.tap(self._taps.listen)

    def _tap_fault(self, taps: Taps) -> Reply | None:
        """The refusal that a failed tap causes.  Without one, its plugin skips this message."""
        connection, transaction = self._connection, self._transaction
        for plugin, error in taps.faults:
            answer = connection.snapshot.chain.tap_fault(plugin, error)
            transaction.trail.add(answer)
            if answer.refused:
                transaction.trail.decision = answer
                return connection.refusal(answer, transaction.sender)
            transaction.left_out |= {plugin}
        return None
