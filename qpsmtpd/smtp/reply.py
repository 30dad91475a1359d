# SPDX-License-Identifier: MIT
"""Reply: one SMTP reply as a value (RFC 5321 section 4.2, RFC 2034)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from qpsmtpd.mail.text import printable_ascii

#: RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets with code and CRLF.
MAX_TEXT = 480


class Reply(NamedTuple):
    """A reply to the client.

    code: three digits; status: enhanced status code, "" where RFC 2034 wants none; text: ASCII
    after cleaning, one reply line per text line; disconnect: close the connection afterwards.
    """

    code: int
    status: str
    text: str
    disconnect: bool = False

    @property
    def positive(self) -> bool:
        """Whether the reply is a 2xx or 3xx."""
        return self.code < 400

    def encode(self) -> bytes:
        """The reply as it goes over the wire, CRLF at the end."""
        return _encoded(self)

    def __str__(self) -> str:
        return self.encode().decode("ascii").rstrip("\r\n").replace("\r\n", " / ")


class Recorded(Reply):
    """A refusal whose decision is in the trail already."""

    __slots__ = ()


# Nearly all replies are the same few.
@lru_cache(maxsize=256)
def _encoded(reply: Reply) -> bytes:
    code, status, text, _ = reply
    prefix = f"{status} " if status else ""
    # A plugin may quote what a DNS record or a client said.
    lines = [printable_ascii(line, MAX_TEXT) for line in text.splitlines()] or [""]
    last = len(lines) - 1
    return b"".join(
        f"{code}{' ' if number == last else '-'}{prefix}{line}\r\n".encode("ascii")
        for number, line in enumerate(lines)
    )
