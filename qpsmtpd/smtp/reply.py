# SPDX-License-Identifier: MIT
"""Reply: one SMTP reply as a value (RFC 5321 section 4.2, RFC 2034)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from qpsmtpd.mail.text import printable_ascii

#: RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets with code and CRLF.
MAX_TEXT = 480


# Frozen, it would take three times as long to make one, and a client that is refused has three.
@dataclass(slots=True, unsafe_hash=True)
class Reply:
    """A reply to the client, which nobody changes.

    code: three digits; status: enhanced status code, "" where RFC 2034 wants none; text: ASCII
    after cleaning, one reply line per text line; disconnect: close the connection afterwards.
    recorded: a refusal whose decision is in the trail already.
    octets: the reply as it goes over the wire, CRLF at the end.
    plain: it neither ends the connection nor refuses for good.
    """

    code: int
    status: str
    text: str
    disconnect: bool = False
    recorded: bool = field(default=False, compare=False, repr=False)
    #: Made at once: nearly all replies are the same few, which are said millions of times.
    octets: bytes = field(init=False, compare=False, repr=False)
    plain: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.octets = _encoded(self.code, self.status, self.text)
        self.plain = self.code < 500 and not self.disconnect

    @property
    def positive(self) -> bool:
        """Whether the reply is a 2xx or 3xx."""
        return self.code < 400

    def as_recorded(self) -> Reply:
        """The same refusal, whose decision is in the trail."""
        return Reply(self.code, self.status, self.text, self.disconnect, recorded=True)

    def __str__(self) -> str:
        return self.octets.decode("ascii").rstrip("\r\n").replace("\r\n", " / ")


def _encoded(code: int, status: str, text: str) -> bytes:
    # The first line of EHLO's has the client's address; what follows is nearly always the same.
    first, _, rest = text.partition("\n")
    if not rest or not (first.isascii() and first.isprintable() and len(text) <= MAX_TEXT):
        return _whole(code, status, text)
    begin = f"{code}-{status} " if status else f"{code}-"
    return f"{begin}{first}\r\n".encode("ascii") + _whole(code, status, rest)


@lru_cache(maxsize=256)
def _whole(code: int, status: str, text: str) -> bytes:
    begin = f"{code} {status} " if status else f"{code} "
    lines = text.splitlines() or [""]
    if not (text.isascii() and all(map(str.isprintable, lines)) and len(text) <= MAX_TEXT):
        # A plugin may quote what a DNS record or a client said.
        lines = [printable_ascii(line, MAX_TEXT) for line in lines]
    *more, last = lines
    if not more:
        return f"{begin}{last}\r\n".encode("ascii")
    goes_on = f"{code}-{begin[4:]}"
    body = f"\r\n{goes_on}".join(more)
    return f"{goes_on}{body}\r\n{begin}{last}\r\n".encode("ascii")
