# SPDX-License-Identifier: MIT
"""Notices of success that nobody behind us sends (RFC 3461 section 5.2, RFC 3464).

A client that was offered DSN may ask to be told when a message has arrived.  Whoever takes the
message from us sends such notices if it can; otherwise we say that it was "relayed" there, or
"delivered" where the message is in its mailbox.  That is a message of its own, with the null
reverse-path, which goes the same way once the client has its reply.  It is tried once: a message
is worth more than a notice about it.

It goes only to a sender who is who he claims to be: anybody could name somebody else's address
and ask for a notice for each of a thousand recipients.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.utils import formatdate
from typing import NamedTuple

from qpsmtpd.mail import dsn
from qpsmtpd.mail.address import Address, decode_xtext
from qpsmtpd.mail.capabilities import offers_extension
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.mailauth.results import SPF_RESULT
from qpsmtpd.smtp.connection import ClientGoneError, Connection

log = logging.getLogger(__name__)

_TEXT = {
    "relayed": "was passed on to a mail system that sends no notices of delivery,\r\n"
    "so that you may not hear of it again:",
    "delivered": "was delivered to:",
}


class Notice(NamedTuple):
    """A notice to the sender of a message; utf8: it needs SMTPUTF8 (RFC 6533)."""

    to: Address
    text: bytes
    utf8: bool


def due(connection: Connection, tx: Transaction) -> Notice | None:
    """The notice that is due for a message that was taken; None if there is none."""
    told = [each for each in tx.recipients if each.success != "none" and _is_wanted(each)]
    if not told or tx.reverse_path is None or tx.dropped_by:
        return None
    if not offers_extension(tx.session, dsn.KEYWORD):
        # RFC 3461 section 5.2.2: then it is up to the client.
        return None
    if not _is_genuine(tx):
        log.info("no notice of success: the sender may be forged from=%r", tx.sender)
        return None
    return _notice(tx, tx.reverse_path, told, connection.snapshot.services.me)


def _is_wanted(recipient: Recipient) -> bool:
    return bool(recipient.parameters) and dsn.wants_success(recipient.parameters)


def _is_genuine(tx: Transaction) -> bool:
    """Whether the client may use any sender, or SPF says that it may use this one."""
    if tx.session.relay_client:
        return True
    spf = tx.notes.get(SPF_RESULT)
    return spf is not None and spf.result == "pass" and spf.identity == "mailfrom"


async def send(connection: Connection, notice: Notice) -> None:
    """Hand a notice over, now that the client has its reply to the message.  Never fails."""
    with suppress(ClientGoneError):
        await connection.wire.flush()
    session = connection.session
    tx = Transaction(session, None, {"SMTPUTF8": None} if notice.utf8 else {})
    # RFC 3461 section 6.1: nobody is told about a notice.
    tx.recipients.append(Recipient(notice.to, {"NOTIFY": "NEVER"}))
    tx.message = Message.from_bytes(notice.text)
    tx.message.eight_bit = not notice.text.isascii()
    tx.size = tx.message.size
    session.transaction = tx
    try:
        answer = await connection.run("queue", tx)
    finally:
        await connection.reset_transaction()
    if answer is None or answer.refused:
        log.warning(
            "notice of success not handed over ip=%s to=%r", session.client.ip, str(notice.to)
        )
    else:
        log.info("notice of success to=%r next_hop_id=%s", str(notice.to), tx.next_hop_id or "-")


def _notice(tx: Transaction, to: Address, told: Sequence[Recipient], me: str) -> Notice:
    assert tx.message is not None
    header = bytes(tx.message.headers_for_readers).rstrip(b"\r\n") + b"\r\n"
    status = "\r\n\r\n".join(
        "\r\n".join(fields)
        for fields in (_of_message(tx, me), *(_of_recipient(each, tx.utf8) for each in told))
    )
    utf8 = tx.utf8 and not (header.isascii() and status.isascii() and to.is_ascii)
    boundary = f"=_{secrets.token_hex(16)}"
    parts = (
        (f"text/plain; charset={'utf-8' if utf8 else 'us-ascii'}", _words(told).encode()),
        (f"message/{'global-' if utf8 else ''}delivery-status", f"{status}\r\n".encode()),
        ("message/global-headers" if utf8 else "text/rfc822-headers", header),
    )
    text = "\r\n".join(
        (
            f"From: Mail Delivery System <MAILER-DAEMON@{me}>",
            f"To: {to.address}",
            "Subject: Message delivered or relayed",
            f"Date: {formatdate(localtime=True)}",
            f"Message-ID: <{secrets.token_hex(16)}@{me}>",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            "Content-Type: multipart/report; report-type=delivery-status;",
            f'\tboundary="{boundary}"',
            "\r\n",
        )
    ).encode()
    for kind, content in parts:
        encoding = "7bit" if content.isascii() else "8bit"
        head = f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}"
        text += f"{head}\r\n\r\n".encode() + content + b"\r\n"
    return Notice(to, text + f"--{boundary}--\r\n".encode(), utf8)


def _words(told: Sequence[Recipient]) -> str:
    """What people read."""
    lines = []
    for action, words in _TEXT.items():
        if named := [f"    {each}" for each in told if each.success == action]:
            lines += [f"Your message {words}", "", *named, ""]
    return "\r\n".join(lines)


def _of_message(tx: Transaction, me: str) -> Iterator[str]:
    """RFC 3464 section 2.2."""
    if envelope_id := tx.mail_parameters.get("ENVID"):
        text = decode_xtext(envelope_id)
        yield f"Original-Envelope-Id: {text if text.isascii() or tx.utf8 else envelope_id}"
    yield f"Reporting-MTA: dns; {me}"
    arrived = time.time() - (time.monotonic() - tx.started)
    yield f"Arrival-Date: {formatdate(arrived, localtime=True)}"


def _of_recipient(recipient: Recipient, utf8: bool) -> Iterator[str]:
    """RFC 3464 section 2.3."""
    if original := recipient.parameters.get("ORCPT"):
        kind, _, encoded = original.partition(";")
        text = dsn.decoded(encoded)
        yield f"Original-Recipient: {kind}; {text if text.isascii() or utf8 else encoded}"
    address = recipient.address
    yield f"Final-Recipient: {'rfc822' if address.is_ascii else 'utf-8'}; {address.address}"
    yield f"Action: {recipient.success}"
    yield "Status: 2.0.0"
