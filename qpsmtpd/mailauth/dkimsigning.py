# SPDX-License-Identifier: MIT
"""Signing: makes the DKIM-Signature field of a message (RFC 6376 section 5, RFC 8301, RFC 8463).

A signature names each field once more than the message has it, so that it breaks when somebody adds
another one ("oversigning", section 8.15).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.headers import HeaderField, Headers
from qpsmtpd.mailauth.canonical import Canonicalization
from qpsmtpd.mailauth.dkimprivate import PrivateKey
from qpsmtpd.mailauth.dkimsignature import MAX_NAMES
from qpsmtpd.mailauth.signedfields import SignedFields

FIELD = "DKIM-Signature"

#: Named also when the message does not have them: what readers see, and what makes other text of
#: the same body.
ALWAYS = (
    *("from", "to", "cc", "subject", "reply-to"),
    *("mime-version", "content-type", "content-transfer-encoding"),
)
#: Named if the message has them.  Mail systems add a Date and a Message-ID that are missing, and
#: mailing lists fields of their own.
IF_THERE = (
    *("date", "message-id", "sender", "in-reply-to", "references", "content-disposition"),
    *("list-id", "list-post", "list-help", "list-owner", "list-archive", "list-subscribe"),
    *("list-unsubscribe", "list-unsubscribe-post", "autocrypt"),
)

#: Characters of a line of the field, as RFC 5322 section 2.1.1 recommends.
_LINE = 78
_TAB = 8
_BREAK = "\r\n\t"
#: Characters of b= on one line.
_CHUNK = 68


class NotSignableError(QpsmtpdError):
    """The message cannot be signed so that others can check it; the message says why."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its place in the DNS (section 3.6.2.1): s= and d=, as A-labels."""

    selector: str
    domain: str
    private: PrivateKey

    @property
    def name(self) -> str:
        """Where its record has to be."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class Form:
    """How messages are signed.

    header, body: their canonical forms.  names: further fields to sign, if the message has them, in
    lower case.  lifetime: seconds that a signature is valid; 0 is for ever.
    """

    header: Canonicalization = "relaxed"
    body: Canonicalization = "relaxed"
    names: tuple[str, ...] = ()
    lifetime: int = 0


def dkim_signatures(
    keys: Iterable[SigningKey], headers: Headers, body_hash: bytes, now: float, form: Form
) -> list[str]:
    """The values of DKIM-Signature fields, folded, one for each key.  Raises NotSignableError.

    headers: those of the message as it is handed over, below the new fields.
    body_hash: that of the canonical body.  now: seconds since the epoch.
    """
    fields = _signable(headers)
    names = _names(fields, form.names)
    if len(names) > MAX_NAMES:
        raise NotSignableError("the message has too many fields to name")
    signed = SignedFields(fields)
    return [_signature(key, signed, names, body_hash, int(now), form) for key in keys]


def _signable(headers: Headers) -> Sequence[HeaderField]:
    """The fields of a message that can be signed.  Raises NotSignableError."""
    fields = headers.fields()
    lines, text = b"".join(field.raw for field in fields), bytes(headers)
    if text not in (lines, lines + b"\r\n"):
        # Others take such a line for the beginning of the body.
        raise NotSignableError("a line of the header section is not a field")
    authors = sum(field.key == b"from" for field in fields)
    if authors != 1:
        raise NotSignableError(f"the message has {authors} fields From")
    return fields


def _signature(
    key: SigningKey,
    fields: SignedFields,
    names: Sequence[str],
    body_hash: bytes,
    now: int,
    form: Form,
) -> str:
    value = _BREAK.join((*_lines(_tags(key, names, body_hash, now, form)), "b="))
    unsigned = f"{FIELD}: {value}".encode()
    digest = fields.hash(form.header, list(map(str.encode, names)), unsigned)
    text = _base64(key.private.sign(digest))
    chunks = (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))
    return value + _BREAK.join(chunks)


def _names(fields: Sequence[HeaderField], more: Sequence[str]) -> list[str]:
    """What h= names: each field as often as it occurs, and all of them once more."""
    counts = Counter(field.key.decode() for field in fields if field.key)
    wanted = [*ALWAYS, *(name for name in (*IF_THERE, *more) if name in counts)]
    present = [name for name in wanted for _ in range(counts[name])]
    return present + wanted


def _tags(
    key: SigningKey, names: Sequence[str], body_hash: bytes, now: int, form: Form
) -> Iterator[str]:
    """The tags before b=, in pieces between which a line may end."""
    yield "v=1;"
    yield f" a={key.private.algorithm};"
    yield f" c={form.header}/{form.body};"
    yield f" d={key.domain};"
    yield f" s={key.selector};"
    yield f" t={now};"
    if form.lifetime:
        yield f" x={now + form.lifetime};"
    first, *others, last = names
    yield f" h={first}:"
    yield from (f"{name}:" for name in others)
    yield f"{last};"
    yield f" bh={_base64(body_hash)};"


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces on as few lines as possible."""
    line, room = "", _LINE - len(f"{FIELD}: ")
    for piece in pieces:
        if len(line) + len(piece) > room:
            yield line
            line, room = piece.lstrip(), _LINE - _TAB
        else:
            line += piece
    yield line


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
