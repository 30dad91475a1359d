# SPDX-License-Identifier: MIT
"""rspamd: its HTTP protocol, /checkv2 (https://rspamd.com/doc/developers/protocol.html).

The message is the content of a request whose header fields say what rspamd is to know about it; the
answer is JSON.  Everything in it may be missing, or of another type: what does not fit is left out,
but without an action and a score it is not an answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.fields import MOST_VALUE, field_value, is_field_name
from qpsmtpd.scanners.http import exchange
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

PORT = 11333

#: How many symbols, and changes of header fields, are taken from an answer.
MOST_SYMBOLS = 200
MOST_CHANGES = 50

#: Characters of an action, and of the words for the client.
_MOST_ACTION = 40
_MOST_WORDS = 200


@dataclass(frozen=True, slots=True)
class AddedField:
    """A header field to be added; at `order`, counted from the top, or on top if that is None."""

    name: str
    value: str
    order: int | None = None


@dataclass(frozen=True, slots=True)
class RemovedField:
    """Header fields to be removed: the nth from the top, or from the bottom if that is negative;
    all of this name if it is 0."""

    name: str
    nth: int


@dataclass(frozen=True, slots=True)
class RspamdAnswer:
    """What rspamd says about a message.

    action: what is to be done, in lower case ("no action", "add header").
    words: what the client is to be told, in printable ASCII.
    subject: the new subject, "" for none.
    ignored: the names of things in `milter` that are not done here.
    """

    action: str
    score: float
    required: float
    symbols: tuple[str, ...] = ()
    words: str = ""
    subject: str = ""
    added: tuple[AddedField, ...] = ()
    removed: tuple[RemovedField, ...] = ()
    ignored: tuple[str, ...] = ()


def request_fields(tx: Transaction, more: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What rspamd is told about a message; `more` is what the administrator adds."""
    session = tx.session
    tls = session.tls
    told = [
        ("Host", "rspamd"),
        ("IP", session.client.ip),
        ("Helo", session.hello_host),
        ("Hostname", session.client_name or ""),
        ("From", f"<{tx.sender}>"),
        *(("Rcpt", str(recipient)) for recipient in tx.recipients),
        ("User", session.auth_user),
        ("Queue-Id", tx.id),
        ("TLS-Version", tls.version if tls else ""),
        ("TLS-Cipher", tls.cipher if tls else ""),
        *more,
    ]
    return [(name, value) for name, value in told if value]


async def check(
    wire: ScannerWire, content: Content, fields: Sequence[tuple[str, str]]
) -> RspamdAnswer:
    """Have a message checked.  Raises ScannerError."""
    response = await exchange(wire, "POST", "/checkv2", fields, content)
    if response.status != 200:
        raise ScannerError(f"answers HTTP status {response.status}")
    return parse_answer(response.content)


async def ping(wire: ScannerWire) -> None:
    """Make sure that it is there.  Raises ScannerError."""
    response = await exchange(wire, "GET", "/ping", [("Host", "rspamd")])
    if response.status != 200 or response.content.strip() != b"pong":
        raise ScannerError("does not answer /ping with pong")


# --- the answer -----------------------------------------------------------------------------


def parse_answer(content: bytes) -> RspamdAnswer:
    """What the JSON of an answer means.  Raises ScannerError."""
    said = _read_object(content)
    if "error" in said:
        raise ScannerError(f"answers {str(said['error'])[:200]!r}")
    action, score = said.get("action"), _number(said.get("score"))
    if not isinstance(action, str) or score is None:
        raise ScannerError("its answer has no action or no score")
    milter = _object(said.get("milter"))
    words = _object(said.get("messages")).get("smtp_message")
    subject = said.get("subject")
    return RspamdAnswer(
        action=printable_ascii(action, _MOST_ACTION).strip().lower(),
        score=score,
        required=_number(said.get("required_score")) or 0.0,
        symbols=tuple(_symbols(said.get("symbols"))),
        words=_one_line(words) if isinstance(words, str) else "",
        subject=subject[:MOST_VALUE] if isinstance(subject, str) else "",
        added=tuple(_added(milter.get("add_headers"), said.get("dkim-signature"))),
        removed=tuple(_removed(milter.get("remove_headers"))),
        ignored=tuple(sorted(name for name in milter if name not in _DONE))[:MOST_CHANGES],
    )


_DONE = {"add_headers", "remove_headers"}


def _read_object(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise ScannerError("its answer is not JSON") from None
    if not isinstance(said, dict):
        raise ScannerError("its answer is not a JSON object")
    return said


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _one_line(text: str) -> str:
    return printable_ascii(" ".join(text[: 4 * _MOST_WORDS].split()), _MOST_WORDS)


def _symbols(value: Any) -> Iterator[str]:
    """The names of the symbols whose score is not 0."""
    for name, symbol in list(_object(value).items())[:MOST_SYMBOLS]:
        if _number(_object(symbol).get("score")):
            yield printable_ascii(name, _MOST_WORDS)


def _added_field(name: str, entry: Mapping[str, Any]) -> Iterator[AddedField]:
    value, order = entry.get("value"), entry.get("order")
    if isinstance(value, str):
        place = order if isinstance(order, int) and not isinstance(order, bool) else None
        yield AddedField(name, field_value(value), place)


def _added(fields: Any, signatures: Any) -> Iterator[AddedField]:
    """The fields to be added, each valid, and DKIM signatures."""
    count = 0
    for name, said in _object(fields).items():
        for each in said if isinstance(said, list) else [said]:
            count += 1
            if count <= MOST_CHANGES and is_field_name(name):
                yield from _added_field(name, each if isinstance(each, dict) else {"value": each})
    found = signatures if isinstance(signatures, list) else [signatures]
    for signature in found[:MOST_CHANGES]:
        if isinstance(signature, str) and signature:
            yield AddedField("DKIM-Signature", field_value(signature))


def _removed(fields: Any) -> Iterator[RemovedField]:
    for name, nth in list(_object(fields).items())[:MOST_CHANGES]:
        for each in (nth if isinstance(nth, list) else [nth])[:MOST_CHANGES]:
            if is_field_name(name) and isinstance(each, int) and not isinstance(each, bool):
                yield RemovedField(name, each)
