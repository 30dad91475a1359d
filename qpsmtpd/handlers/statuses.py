# SPDX-License-Identifier: MIT
"""Statuses: what a handler says ("250 OK"), read as an SMTP reply and turned into a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from qpsmtpd.api import Decision, Verdict
from qpsmtpd.errors import QpsmtpdError

# RFC 5321 section 4.2: code, and a hyphen on all lines but the last.
_line = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL).fullmatch
# RFC 2034 section 4.
_enhanced = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]+|$)").match
_line_end = re.compile(r"\r\n|\r|\n")
#: Codes after which the connection is closed (RFC 5321 section 3.8, RFC 7504).
_CLOSING = (421, 521)


class HandlerError(QpsmtpdError):
    """A handler did something that cannot be acted on: a fault of the handler."""


class Status(NamedTuple):
    """A reply as a handler gave it: enhanced is "" without an enhanced status code.

    Several lines of text have a line feed between them.
    """

    code: int
    enhanced: str
    text: str


def read_status(said: Sequence[object], *, hyphens_count: bool = True) -> Status:
    """Read what a handler pushed and returned, in this order, as one reply.

    hyphens_count: all lines but the last must have a hyphen after the code, and it must have none.
    Raises HandlerError for anything else: no line, no code, two replies.
    """
    lines = [line for piece in said for line in _lines_of(piece)]
    if not lines:
        raise HandlerError("said nothing, not a status such as '250 OK'")
    read = [_read_line(line) for line in lines]
    code = read[0].code
    for number, line in enumerate(read, start=1):
        in_place = line.last is (number == len(read)) or not hyphens_count
        if line.code != code or not in_place:
            raise HandlerError(f"said {lines!r}, which is not one SMTP reply")
    match = _enhanced(read[0].text)
    enhanced = match[1] if match else ""
    texts = [line.text.removeprefix(enhanced).lstrip() for line in read]
    return Status(code, enhanced, "\n".join(texts))


class _Line(NamedTuple):
    code: int
    last: bool
    text: str


def _lines_of(piece: object) -> list[str]:
    if isinstance(piece, bytes | bytearray):
        piece = piece.decode("utf-8", "replace")
    if not isinstance(piece, str):
        raise HandlerError(f"said {piece!r}, not a status such as '250 OK'")
    return _line_end.split(piece.removesuffix("\n").removesuffix("\r"))


def _read_line(line: str) -> _Line:
    match = _line(line)
    if match is None:
        raise HandlerError(f"said {line!r}, not a status such as '250 OK'")
    return _Line(int(match[1]), match[2] != "-", match[3] or "")


def verdict_of(status: Status) -> Verdict:
    """The verdict that says the same.  Raises HandlerError for a 3xx, which decides nothing."""
    kind = status.code // 100
    if kind == 3:
        raise HandlerError(f"said {status.code}, which is not an answer to any command")
    decision = {2: Decision.ACCEPT, 4: Decision.DEFER, 5: Decision.DENY}[kind]
    closes = status.code in _CLOSING
    return Verdict(decision, status.text, status.enhanced, closes, status.code)
