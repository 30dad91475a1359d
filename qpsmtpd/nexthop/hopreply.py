# SPDX-License-Identifier: MIT
"""What a next hop answers, and what it means when it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qpsmtpd.errors import QpsmtpdError

_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?= |$)")
_QUEUE_ID = re.compile(r"queued as ([!-~]+)|\bid=([!-~]+)|(?<![!-~])([!-~]+) saved$", re.IGNORECASE)
_MAX_ID = 64


class NextHopError(QpsmtpdError):
    """The next hop cannot be reached, or broke off, or does not speak SMTP: try again later.

    status: the enhanced status code for the client (RFC 3463), class 4.
    lost: the connection went away, as an idle one may at any time; a new one may work.
    in_doubt: the message had been sent to its end, so it may have been taken.
    """

    def __init__(self, problem: str, status: str = "4.4.2", *, lost: bool = False) -> None:
        super().__init__(problem)
        self.status = status
        self.lost = lost
        self.in_doubt = False


@dataclass(frozen=True, slots=True)
class HopReply:
    """One reply of a next hop: its code, and the text of each of its lines."""

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
    def queue_id(self) -> str:
        """The id of the message at the next hop if the text has it, else its last word."""
        text = self.lines[-1].strip()
        match = _QUEUE_ID.search(text)
        word = next(filter(None, match.groups())) if match else (text.split() or [""])[-1]
        return "".join(c for c in word if "!" <= c <= "~")[:_MAX_ID]

    def __str__(self) -> str:
        return f"{self.code} {' / '.join(self.lines)}"
