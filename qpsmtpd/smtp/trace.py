# SPDX-License-Identifier: MIT
"""Trace: the header fields that we add (RFC 5321 section 4.4, RFC 8601)."""

from __future__ import annotations

import functools
import re
import time
from email.utils import formatdate

from qpsmtpd.mail.session import ReceivedInfo, Session, Transaction
from qpsmtpd.mail.trail import Answer
from qpsmtpd.smtp.replies import reply_to

#: The field of a plugin that is in mode=tag.
TAG = "X-Qpsmtpd-Tag"
#: RFC 5322 section 2.1.1: a line has at most 998 characters.
_MOST_TAG = 900

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._:\[\]-]")
#: What would end the value, or begin a comment or a quoted string (RFC 8601 section 2.2).
_NOT_IN_RESULTS = re.compile(r"[^\x21-\x7e]|[\"();\\]")


def protocol_name(session: Session, utf8: bool) -> str:
    """The name of the protocol for the Received field (RFC 3848, RFC 6531 section 4.3)."""
    if session.hello != "ehlo":
        return "SMTP"
    base = "UTF8SMTP" if utf8 else "ESMTP"
    return base + ("S" if session.tls else "") + ("A" if session.auth_user else "")


def received_info(tx: Transaction) -> ReceivedInfo:
    """What is known for the Received field."""
    session = tx.session
    tls = f"({session.tls.version} with cipher {session.tls.cipher})" if session.tls else ""
    auth = ""
    if session.auth_user:
        auth = f"(smtp-auth username {clean(session.auth_user)}, {session.auth_mechanism})"
    return ReceivedInfo(protocol_name(session, tx.utf8), tls, auth)


async def received_value(tx: Transaction, info: ReceivedInfo, me: str, version: str) -> str:
    """The value of our Received field, folded; no comment stands between "with" and its word."""
    session = tx.session
    name = await session.resolve_client_name()
    client = f"{clean(name) + ' ' if name else ''}[{session.client.ip}]"
    tls = f"\r\n\t{info.tls}" if info.tls else ""
    return (
        f"from {clean(session.hello_host)} ({client}){tls}\r\n"
        f"\tby {me} (qpsmtpd/{version}) with {info.protocol} id {tx.id};\r\n"
        f"\t{date_now()}"
    )


def authentication_results(tx: Transaction, me: str) -> str:
    """The value of our Authentication-Results field: of the connection and of this message."""
    session = tx.session
    if session.auth_user:
        user = _NOT_IN_RESULTS.sub("?", session.auth_user)
        auth = f"auth=pass ({session.auth_mechanism.lower()}) smtp.auth={user}"
    else:
        auth = "auth=none"
    return ";\r\n\t".join((me, auth, *session.auth_results, *tx.auth_results))


def tag_value(answer: Answer) -> str:
    """What a plugin would have refused, and with which reply."""
    return f"{answer.plugin} hook={answer.hook} {reply_to(answer)}"[:_MOST_TAG]


@functools.lru_cache(maxsize=1024)
def clean(text: str) -> str:
    """What a client or its DNS said, made safe to stand in a header field."""
    return _NOT_PLAIN.sub("?", text)[:255]


def date_now() -> str:
    """The date and time of RFC 5322 section 3.3, local zone."""
    return _date(int(time.time()))


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, localtime=True)
