# SPDX-License-Identifier: MIT
"""What a milter's refusal means for the client.

A milter may choose the reply, but only among refusals: whatever else it says becomes a fixed 451.
"""

from __future__ import annotations

import re

from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mail.verdict import Verdict, defer, deny
from qpsmtpd.milter import packets
from qpsmtpd.milter.link import Answer

#: For a reply that is none, and for milters that fail.
UNAVAILABLE = defer("Service unavailable, please try again later", status="4.7.1", code=451)

_CLOSING = 421
#: Lines of a reply, and characters of one, that the client gets.
_MOST_LINES = 20
_LONGEST_LINE = 450

_line = re.compile(r"([45]\d\d)(?:[ -](?:([45]\.\d{1,3}\.\d{1,3})(?: |$))?(.*))?").fullmatch
_percent = re.compile(r"%(.?)")


def refusal(answer: Answer) -> Verdict | None:
    """The verdict for an answer that refuses; None for any other."""
    match answer:
        case packets.Reject():
            return deny(status="5.7.1", reason="reject")
        case packets.Tempfail():
            return defer(status="4.7.1", reason="tempfail")
        case packets.Shutdown():
            return defer(status="4.7.1", code=_CLOSING, disconnect=True, reason="shutdown")
        case packets.ReplyCode(text):
            return _reply(text.decode("utf-8", "replace"))
    return None


def _reply(text: str) -> Verdict:
    """The reply that the milter has written: as in SMTP, perhaps of several lines."""
    # Sendmail takes it for a format, so milters double each "%".
    lines = [_line(_percent.sub(r"\1", line)) for line in text.splitlines()[:_MOST_LINES]]
    found = [line for line in lines if line is not None]
    if not found or len(found) < len(lines) or len({line[1] for line in found}) > 1:
        return UNAVAILABLE
    code, status = found[0][1], found[0][2] or ""
    if status and status[0] != code[0]:
        status = ""
    make = deny if code[0] == "5" else defer
    words = "\n".join(printable_ascii((line[3] or "").strip(), _LONGEST_LINE) for line in found)
    return make(
        words.strip(),
        status=status,
        code=int(code),
        disconnect=int(code) == _CLOSING,
        reason=printable_ascii(" ".join(text.split()), _LONGEST_LINE),
    )
