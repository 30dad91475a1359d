# SPDX-License-Identifier: MIT
"""What a next hop answers, and what it means when it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.text import printable_ascii

_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?= |$)")

#: Where servers put the id that a message has with them.  A word that might be any other word has
#: to have a digit.  Postfix, Haraka; Exim; Stalwart; Haraka; Exchange; qmail; Gmail; Sendmail and
#: OpenSMTPD; Dovecot; Courier and others.
_queue_id = re.compile(
    r"\bqueued as (\S+)"
    r"|\bid=(\S+)"
    r"|\bwith id (\S+)"
    r"|\bqueued \((?=[^()\s]*\d)([^()\s]+)\)"
    r"|\[internalid=([^\s,\]]+)"
    r"|\b(qp \d+)"
    r"|^ok {1,3}\d+ (\S+) - gsmtp"
    r"|^(?=\S*\d)(\S+) message accepted for delivery"
    r"|^<[^<>]*> (\S+) saved$"
    r"|^ok[.:]? (?=[^=\s]*\d)([^=\s]+)$",
    re.ASCII | re.IGNORECASE,
).search
_MAX_ID = 64
#: Characters of a reply that are searched for an id, and that are logged.
_MOST_TEXT = 500
#: Characters of a reply that our client sees.
_MOST_WORDS = 200


class NextHopError(QpsmtpdError):
    """The next hop cannot be reached, or broke off, or does not speak SMTP: try again later.

    status: the enhanced status code for the client (RFC 3463), class 4.
    lost: the connection is gone or may be to blame, so that a new one may work.
    ours: the next hop refuses us, or we refuse it: it answers, and the administrator has to act.
    in_doubt: the message had been sent to its end, so it may have been taken.
    """

    def __init__(
        self, problem: str, status: str = "4.4.2", *, lost: bool = False, ours: bool = False
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.lost = lost
        self.ours = ours
        self.in_doubt = False


# Frozen, it would take three times as long to make one.
@dataclass(slots=True, unsafe_hash=True)
class HopReply:
    """One reply of a next hop, which nobody changes: its code, and the texts of its lines."""

    code: int
    lines: tuple[str, ...] = ("",)

    @property
    def positive(self) -> bool:
        """Whether the command succeeded (2xx)."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """Whether it failed for good (5xx)."""
        return self.code >= 500

    @property
    def closing(self) -> bool:
        """Whether the next hop closes the connection after it (RFC 5321 3.8, RFC 7504)."""
        return self.code in (421, 521)

    @property
    def status(self) -> str:
        """The enhanced status code, "" when there is none or it contradicts the code."""
        match = _ENHANCED.match(self.lines[-1])
        return match[0] if match and match[1] == str(self.code)[0] else ""

    @property
    def words(self) -> str:
        """The text for a reply of ours: without status codes, in printable ASCII, and not long."""
        texts = (line.removeprefix(self.status).strip() for line in self.lines)
        return printable_ascii(" ".join(filter(None, texts)), _MOST_WORDS).strip()

    @property
    def queue_id(self) -> str:
        """The id of the message at the next hop, "" if the reply does not tell."""
        text = self.lines[-1][:_MOST_TEXT].removeprefix(self.status).strip()
        match = _queue_id(text)
        if match is None or match.lastindex is None:
            return ""
        word = match[match.lastindex].rstrip(".,;")
        plain = word.isascii() and word.isprintable()
        return (word if plain else "".join(c for c in word if " " <= c <= "~"))[:_MAX_ID]

    def __str__(self) -> str:
        text = f"{self.code} {' / '.join(self.lines)}"
        return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
