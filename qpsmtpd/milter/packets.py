# SPDX-License-Identifier: MIT
"""The packets of the milter protocol as values; codec.py turns them into octets and back.

A packet is a letter with data.  What we say to a milter and what it says are distinct sets of
letters: COMMANDS and REPLIES.  The facts are those of libmilter's mfdef.h; all text is octets, as
the protocol names no character set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.  Each kind has its letter, and its fields in the order in which they are sent."""

    letter: ClassVar[bytes]


# --- what we say ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Negotiate(Packet):
    """What either side can do: the first packet of both.

    actions, steps: bits, see negotiation.py.  macros: the names that the milter wants, by stage.
    """

    letter = b"O"
    version: int
    actions: int
    steps: int
    macros: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Macros(Packet):
    """Values that belong to the next command, whose letter is `command`."""

    letter = b"D"
    command: bytes
    values: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Connect(Packet):
    """A client has connected.  family: b"4", b"6", b"L" (a Unix socket), or b"U" without more."""

    letter = b"C"
    name: bytes
    family: bytes
    port: int = 0
    address: bytes = b""


@dataclass(frozen=True, slots=True)
class Helo(Packet):
    """HELO or EHLO."""

    letter = b"H"
    name: bytes


@dataclass(frozen=True, slots=True)
class Mail(Packet):
    """MAIL: the reverse-path with its brackets, and the parameters."""

    letter = b"M"
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rcpt(Packet):
    """RCPT: the forward-path with its brackets, and the parameters."""

    letter = b"R"
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Data(Packet):
    """DATA, since version 4."""

    letter = b"T"


@dataclass(frozen=True, slots=True)
class Header(Packet):
    """A header field; the lines of its value end with LF."""

    letter = b"L"
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class EndOfHeaders(Packet):
    """There are no more header fields."""

    letter = b"N"


@dataclass(frozen=True, slots=True)
class Body(Packet):
    """A chunk of the body; lines end with CRLF, but a chunk may end anywhere."""

    letter = b"B"
    chunk: bytes


@dataclass(frozen=True, slots=True)
class EndOfMessage(Packet):
    """The message is complete; now the milter may change it."""

    letter = b"E"
    chunk: bytes = b""


@dataclass(frozen=True, slots=True)
class Unknown(Packet):
    """A command that is not one of SMTP, since version 3."""

    letter = b"U"
    line: bytes


@dataclass(frozen=True, slots=True)
class Abort(Packet):
    """Forget the message; the client stays."""

    letter = b"A"


@dataclass(frozen=True, slots=True)
class Quit(Packet):
    """The client has left, and the connection ends."""

    letter = b"Q"


@dataclass(frozen=True, slots=True)
class QuitNewClient(Packet):
    """The client has left, and another one follows on this connection, since version 6."""

    letter = b"K"


# --- what a milter says -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Continue(Packet):
    """Go on."""

    letter = b"c"


@dataclass(frozen=True, slots=True)
class Accept(Packet):
    """Take the message, or all of this client; it need not be told anything more."""

    letter = b"a"


@dataclass(frozen=True, slots=True)
class Reject(Packet):
    """Refuse for good."""

    letter = b"r"


@dataclass(frozen=True, slots=True)
class Tempfail(Packet):
    """Refuse for now."""

    letter = b"t"


@dataclass(frozen=True, slots=True)
class Discard(Packet):
    """Tell the client that the message was taken, and drop it."""

    letter = b"d"


@dataclass(frozen=True, slots=True)
class Skip(Packet):
    """Send no more of this kind, since version 6."""

    letter = b"s"


@dataclass(frozen=True, slots=True)
class Progress(Packet):
    """It is still at work."""

    letter = b"p"


@dataclass(frozen=True, slots=True)
class Shutdown(Packet):
    """Refuse with 421, and close the client's connection."""

    letter = b"4"


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Packet):
    """Do as if the milter had not been reached."""

    letter = b"f"


@dataclass(frozen=True, slots=True)
class ReplyCode(Packet):
    """Refuse with this reply: code, perhaps an enhanced status code, text."""

    letter = b"y"
    text: bytes


@dataclass(frozen=True, slots=True)
class AddHeader(Packet):
    """Put a field below all others."""

    letter = b"h"
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertHeader(Packet):
    """Put a field at a place among all fields, where 0 is the top."""

    letter = b"i"
    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader(Packet):
    """Give the n-th field of this name another value; an empty one removes it."""

    letter = b"m"
    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient(Packet):
    """Add a recipient."""

    letter = b"+"
    address: bytes


@dataclass(frozen=True, slots=True)
class AddRecipientWith(Packet):
    """Add a recipient with parameters of RCPT."""

    letter = b"2"
    address: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecipient(Packet):
    """Remove a recipient."""

    letter = b"-"
    address: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender(Packet):
    """Replace the reverse-path, perhaps with parameters of MAIL."""

    letter = b"e"
    address: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class ReplaceBody(Packet):
    """The next chunk of another body."""

    letter = b"b"
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Quarantine(Packet):
    """Keep the message aside, for this reason."""

    letter = b"q"
    reason: bytes


COMMANDS: tuple[type[Packet], ...] = (
    Negotiate,
    Macros,
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Header,
    EndOfHeaders,
    Body,
    EndOfMessage,
    Unknown,
    Abort,
    Quit,
    QuitNewClient,
)
REPLIES: tuple[type[Packet], ...] = (
    Negotiate,
    Continue,
    Accept,
    Reject,
    Tempfail,
    Discard,
    Skip,
    Progress,
    Shutdown,
    ConnectionFailed,
    ReplyCode,
    AddHeader,
    InsertHeader,
    ChangeHeader,
    AddRecipient,
    AddRecipientWith,
    DeleteRecipient,
    ChangeSender,
    ReplaceBody,
    Quarantine,
)
