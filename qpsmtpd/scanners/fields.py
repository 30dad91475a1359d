# SPDX-License-Identifier: MIT
"""Header fields of scanners: what a scanner says, made fit for a header section, and what looks
like that but came with the message.

Part of what a scanner says is from the message, and so from a stranger.
"""

from __future__ import annotations

import re
from typing import Literal

from qpsmtpd.mail.message import Message
from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.text import printable_ascii

#: What becomes of fields that look like those of a scanner, and came with the message.
OldFields = Literal["rename", "drop", "keep"]

#: Characters of a value, and of each of its lines: RFC 5322 section 2.1.1 has 998 with the name.
MOST_VALUE = 8192
LONGEST_LINE = 900

#: Characters of a name of which others make much (a header field, a virus).
MOST_NAME = 100

_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}").fullmatch
_HANDLED = Note[frozenset[str]]("scanners.old_fields")


def is_field_name(text: str) -> bool:
    """Whether a scanner may add a field of this name."""
    return _is_name(text) is not None


def field_value(text: str) -> str:
    """A text as the value of a header field: folded where it had lines, printable ASCII."""
    lines = (line.replace("\t", " ").strip() for line in text[:MOST_VALUE].splitlines())
    pieces = (
        printable_ascii(line[start : start + LONGEST_LINE])
        for line in lines
        for start in range(0, len(line), LONGEST_LINE)
    )
    return "\n\t".join(piece for piece in pieces if piece.strip())


def short_name(text: str) -> str:
    """The name of a virus, as clients and the log may see it."""
    return printable_ascii(" ".join(text[: 2 * MOST_NAME].split()), MOST_NAME) or "unknown"


def prefix_subject(message: Message, prefix: str) -> None:
    """Put a text in front of the subject, whose folds and octets stay as they are."""
    raw = next(iter(message.headers.raw("Subject")), b"")
    subject = raw.partition(b":")[2].strip().decode("utf-8", "surrogateescape")
    replace_subject(message, f"{prefix} {subject}".rstrip())


def replace_subject(message: Message, subject: str) -> None:
    """Give the message another subject, without what no header field may have."""
    try:
        message.headers.replace("Subject", subject)
    except ValueError:
        message.headers.replace("Subject", field_value(subject))


def put_away(tx: Transaction, prefix: str, what: OldFields) -> None:
    """Rename or drop the fields whose name begins with `prefix` ("X-Spam"), once per message.

    Who reads the message must not take them for ours.  X-Spam-Flag becomes X-Old-Spam-Flag.
    """
    handled = tx.notes.get(_HANDLED, frozenset())
    if tx.message is None or prefix in handled or what == "keep":
        return
    tx.notes[_HANDLED] = handled | {prefix}
    for name in _names(tx.message, prefix):
        if what == "drop":
            tx.message.headers.remove(name)
        else:
            tx.message.headers.rename(name, f"X-Old-{name[2:]}")


def _names(message: Message, prefix: str) -> list[str]:
    """The names that begin so, each once, whatever its case."""
    found = {name.lower(): name for name in message.headers.names()}
    begins = prefix.lower()
    return [name for key, name in found.items() if key == begins or key.startswith(f"{begins}-")]
