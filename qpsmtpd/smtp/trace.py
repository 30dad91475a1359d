# SPDX-License-Identifier: MIT
"""Trace: the header fields that we add (RFC 5321 section 4.4, RFC 8601).

Whatever stands in them may come from a client or its DNS, and the readers of these fields are often
simpler than their grammar. So a text is not only quoted: what could end it, or begin another
result for a reader that does not know quotes and comments, becomes a question mark.
"""

from __future__ import annotations

import functools
import re
import time
from email.utils import formatdate

from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.headers import HeaderField, composed
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import Iprev, ReceivedInfo, Session, TlsInfo, Transaction
from qpsmtpd.mail.trail import Answer
from qpsmtpd.nexthop.hopenvelope import needs_utf8
from qpsmtpd.smtp.replies import reply_to

#: Octets of one text in Authentication-Results; an RFC 5321 address is shorter.
LONGEST_TEXT = 512
_CUT = "[cut]"
_WIDTH = 78

#: The field of a plugin that is in mode=tag.
TAG = "X-Qpsmtpd-Tag"
#: RFC 5322 section 2.1.1: a line has at most 998 characters.
_MOST_TAG = 900

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_is_harmless = re.compile(r"[A-Za-z0-9 ._@/+-]*").fullmatch
#: A value that needs no quotes: a token, or a mailbox (RFC 8601 section 2.2). Both may have other
#: characters, in which case they are quoted all the same; and so is what makes `smtp.helo=pass`.
_LABEL = "[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"
_is_bare = re.compile(
    rf"(?!(?i:pass)\b)(?:[A-Za-z0-9._+-]+|[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@{_LABEL}(?:\.{_LABEL})+)"
).fullmatch
_not_ascii = re.compile(r"[^\x00-\x7f]")
#: Looks like a result to whoever searches the whole field for one.
_claims_pass = re.compile(r"=(?= *pass(?![A-Za-z0-9_]))", re.IGNORECASE)


def protocol_name(session: Session, utf8: bool) -> str:
    """The name of the protocol for the Received field (RFC 3848, RFC 6531 section 4.3)."""
    return _protocol(
        session.hello, session.lmtp, utf8, session.tls is not None, bool(session.auth_user)
    )


def _protocol(hello: str | None, lmtp: bool, utf8: bool, tls: bool, auth: bool) -> str:
    if hello != "ehlo":
        return "SMTP"
    base = ("UTF8" if utf8 else "") + ("LMTP" if lmtp else "SMTP" if utf8 else "ESMTP")
    return base + ("S" if tls else "") + ("A" if auth else "")


def received_info(tx: Transaction) -> ReceivedInfo:
    """What is known for the Received field."""
    session = tx.session
    auth = ""
    if session.auth_user:
        auth = f"(smtp-auth username {clean(session.auth_user)}, {session.auth_mechanism})"
    return ReceivedInfo(protocol_name(session, tx.utf8), _tls(session.tls), auth)


def _tls(tls: TlsInfo | None) -> str:
    return "" if tls is None else f"({tls.version} with cipher {tls.cipher})"


def received(tx: Transaction, me: str, version: str) -> HeaderField:
    """Our Received field; no comment stands between "with" and its word.

    The client's name is to be resolved by now.
    """
    session = tx.session
    begin = _received_until_id(
        session.hello_host,
        session.client_name,
        session.client.ip,
        _tls(session.tls),
        me,
        version,
        session.hello,
        session.lmtp,
        tx.utf8,
        bool(session.auth_user),
    )
    return HeaderField(b"received", f"{begin}{tx.id};\r\n\t{date_now()}\r\n".encode())


@functools.lru_cache(maxsize=1024)
def _received_until_id(
    helo: str,
    name: str | None,
    ip: str,
    tls: str,
    me: str,
    version: str,
    hello: str | None,
    lmtp: bool,
    utf8: bool,
    auth: bool,
) -> str:
    """The field as far as it is the same for all messages of a client."""
    literal = Endpoint(ip).literal
    client = f"{clean(name)} {literal}" if name else literal
    lines = [f"Received: from {clean(helo)} ({client})", *filter(None, [tls])]
    protocol = _protocol(hello, lmtp, utf8, bool(tls), auth)
    return "\r\n\t".join((*lines, f"by {me} (qpsmtpd/{version}) with {protocol} id "))


def authentication_results(tx: Transaction, me: str) -> HeaderField:
    """Our Authentication-Results field: for the connection and this message.

    What is not known about the client's name stays unsaid: see `Session.resolve_client_name`.
    """
    session = tx.session
    field = _of_connection(
        me, session.auth_user, session.auth_mechanism, session.iprev, session.client.ip
    )
    if not session.auth_results and not tx.auth_results and field.raw.isascii():
        return field
    text = field.raw.decode().removesuffix("\r\n")
    for result in (*session.auth_results, *tx.auth_results):
        text += f";\r\n\t{_result(result)}"
    if not text.isascii() and not needs_utf8(tx, tx.recipients):
        # RFC 8616 allows UTF-8 in messages that need SMTPUTF8 anyway; ours must not cause that.
        text = _not_ascii.sub("?", text)
    return HeaderField(field.key, f"{text}\r\n".encode())


@functools.lru_cache(maxsize=1024)
def _of_connection(me: str, user: str, mechanism: str, iprev: Iprev, ip: str) -> HeaderField:
    """The field as far as it is the same for all messages of a connection."""
    parts = [_pvalue(me), _login(user, mechanism)]
    if iprev:
        parts.append(f"iprev={iprev} policy.iprev={_pvalue(ip)}")
    return composed("Authentication-Results", ";\r\n\t".join(parts))


def _login(user: str, mechanism: str) -> str:
    if not user:
        return "auth=none"
    return _result(AuthResult("auth", "pass", "", {"smtp.auth": user}, mechanism.lower()))


def _result(result: AuthResult) -> str:
    """A result as RFC 8601 section 2.2 writes it (resinfo), folded."""
    parts = [f"{result.method}={result.result}"]
    if result.comment:
        parts.append(f"({_harmless(result.comment)})")
    if result.reason:
        parts.append(f'reason="{_harmless(result.reason)}"')
    parts += [f"{name}={_pvalue(value)}" for name, value in result.properties]
    return _folded(parts)


def _folded(parts: list[str]) -> str:
    """The parts with blanks between them, folded into lines of the usual length."""
    text = " ".join(parts)
    if len(text) <= _WIDTH:
        return text
    text, width = parts[0], len(parts[0])
    for part in parts[1:]:
        fits = width + 1 + len(part) <= _WIDTH
        text += f" {part}" if fits else f"\r\n\t{part}"
        width = width + 1 + len(part) if fits else len(part)
    return text


def _pvalue(text: str) -> str:
    """A text as a value: a token, a mailbox, or a quoted string without quoted pairs."""
    if len(text) <= LONGEST_TEXT and _is_bare(text):
        # None of its characters is harmful.
        return text
    harmless = _harmless(text).replace(" ", "?")
    return harmless if _is_bare(harmless) else f'"{harmless}"'


def _harmless(text: str) -> str:
    """A text that cannot end a quoted string, comment, result or line, and is not long.

    One that was cut says so: the beginning of a domain may be somebody else's domain.
    """
    if _is_harmless(text) and len(text) <= LONGEST_TEXT:
        return text
    few = text[: LONGEST_TEXT + 1]
    few = "".join(c if c.isprintable() and c not in '";()\\' else "?" for c in few)
    octets = few.encode()
    if len(octets) > LONGEST_TEXT:
        few = octets[:LONGEST_TEXT].decode(errors="ignore") + _CUT
    return _claims_pass.sub("?", few)


def tag_value(answer: Answer) -> str:
    """What a plugin would have refused, and with which reply."""
    return f"{answer.plugin} hook={answer.hook} {reply_to(answer)}"[:_MOST_TAG]


@functools.lru_cache(maxsize=1024)
def clean(text: str) -> str:
    """What a client or its DNS said, made safe to stand in a header field."""
    return _NOT_PLAIN.sub("?", text)[:255]


def date_now() -> str:
    """The date and time now as RFC 5322 section 3.3 writes it, in the local zone."""
    return _date(int(time.time()))


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, localtime=True)
