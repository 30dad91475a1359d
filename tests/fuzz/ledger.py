# SPDX-License-Identifier: MIT
"""What a server owes its client: compares what was sent with what was answered.

A Ledger knows no more of SMTP than a client does.  Every line gets one reply; after a 354
everything up to the dot does, and after a 334 the next line belongs to the exchange.  So which
octets are commands follows from the replies, even where the client did not wait for them.  The
octets that BDAT announces are never commands, whatever the reply is (RFC 3030).  In LMTP a message
has a reply for each recipient that was accepted (RFC 2033).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

END = b"\r\n.\r\n"
#: Octets of the longest line of a reply (RFC 5321 section 4.5.3.1.5), CRLF included.
LONGEST_LINE = 512

_is_chunk = re.compile(rb"BDAT [ \t]*([0-9]{1,20})( +LAST)?[ \t]*\r", re.IGNORECASE).fullmatch
_last_chunk = re.compile(rb"\bLAST\b", re.IGNORECASE)
_is_login = re.compile(rb"XCLIENT .*LOGIN=(?!\[)", re.IGNORECASE).match
_is_line = re.compile(rb"[2-5]\d\d[ -][ -~\t]*\r\n|[2-5]\d\d\r\n").fullmatch
#: Commands that end a transaction.
_RESETS = (b"MAIL", b"RSET", b"EHLO", b"HELO", b"LHLO", b"XCLI")
#: After these the server hangs up: RFC 5321 section 3.8, RFC 7504.
_LAST = (221, 421, 521)


class LedgerError(AssertionError):
    """The server broke a rule."""


@dataclass
class Message:
    """What was sent after a 354 or in chunks, and the reply to it; None while there is none."""

    stream: bytes
    code: int | None = None
    in_chunks: bool = False

    @property
    def text(self) -> bytes:
        """The message as it was meant; with a line end that a chunk may lack."""
        if self.in_chunks:
            ends = self.stream.endswith(b"\r\n") or not self.stream
            return self.stream if ends else self.stream + b"\r\n"
        lines = self.stream.removeprefix(b"\r\n").removesuffix(END[2:]).split(b"\r\n")
        return b"\r\n".join(line.removeprefix(b".") for line in lines)


@dataclass
class Ledger:
    """One connection.  `said` takes what the client sends, `heard` what it receives."""

    mode: str = "greeting"  # greeting, command, auth, data, over
    messages: list[Message] = field(default_factory=list)
    replies: list[tuple[bytes, int]] = field(default_factory=list)
    authenticated: bool = False
    tls_begins: bool = False
    lmtp: bool = False
    _recipients: int = 0
    _more: list[int] = field(default_factory=list)
    _sent: bytes = b""
    _received: bytes = b""
    _lines: list[bytes] = field(default_factory=list)
    _chunks: bytes = b""

    def said(self, octets: bytes) -> None:
        self._sent += octets

    def heard(self, octets: bytes) -> None:
        """Raises LedgerError for what is not a reply, and a reply to nothing."""
        self._received += octets
        while (end := self._received.find(b"\n") + 1) > 0:
            line, self._received = self._received[:end], self._received[end:]
            self._line(line)

    @property
    def owes(self) -> bool:
        """Whether a reply has to come."""
        if self.mode == "greeting":
            return True
        if self.mode == "data":
            return END in self._sent
        if self._more:
            return True
        return self.mode != "over" and self._complete(self._sent)

    @property
    def unheard(self) -> int:
        """How many messages may have been sent behind the last reply."""
        dots = self._sent.count(END) + (END not in self._sent and b"\n.\r\n" in self._sent)
        return dots + len(_last_chunk.findall(self._sent))

    @property
    def code(self) -> int:
        """The code of the last reply; 0 if there is none."""
        return self.replies[-1][1] if self.replies else 0

    def closed(self) -> None:
        """The server has hung up.  Raises LedgerError if it must not."""
        if self._received or self._lines:
            raise LedgerError(f"hangs up within a reply: {self._received or self._lines!r}")
        # A refusal may end the connection, and what is not a handshake ends it without a word.
        if self.owes and self.code < 400 and not self.tls_begins:
            raise LedgerError(f"hangs up and owes a reply to {self._sent[:80]!r}")

    def restart(self) -> None:
        """TLS begins: nothing that was sent or received before counts any more."""
        self.mode, self.tls_begins = "command", False
        self._sent = b""

    def _complete(self, sent: bytes) -> bool:
        """Whether a reply is due to the first line: a chunk has to be there as well."""
        line, end, rest = sent.partition(b"\n")
        chunk = _is_chunk(line) if self.mode == "command" else None
        return bool(end) and (chunk is None or len(rest) >= int(chunk[1]))

    def _line(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE or not _is_line(line):
            raise LedgerError(f"is not a line of a reply: {line!r}")
        self._lines.append(line)
        if line[3:4] == b"-":
            return
        if len({each[:3] for each in self._lines}) > 1:
            raise LedgerError(f"lines of one reply with different codes: {self._lines!r}")
        self._lines = []
        self._reply(int(line[:3]))

    def _reply(self, code: int) -> None:
        if self.mode == "over":
            raise LedgerError(f"{code} after the end")
        if self.mode == "greeting":
            self.replies.append((b"", code))
            self.mode = "command" if code == 220 else "over"
        elif code == 421 and not self.owes:
            self.replies.append((b"", code))
        elif self._more:
            self._answer_another(code)
        elif self.mode == "data":
            self._answer_message(code)
        else:
            self._answer_line(code)
        if code in _LAST:
            self.mode = "over"

    def _answer_message(self, code: int) -> None:
        stream, end, rest = self._sent.partition(END)
        if not end and code < 400:
            raise LedgerError(f"{code} before the end of the message {stream!r}")
        self.messages[-1].stream = stream + END
        self.messages[-1].code = code
        self._sent = rest
        self.mode = "command" if end else "over"
        self.replies.append((b".", code))
        self._expect_more(code)

    def _expect_more(self, code: int) -> None:
        """In LMTP, each further recipient has a reply; nobody tells them apart here."""
        if self.lmtp and self.mode == "command" and code not in _LAST:
            self._more = [code] * (self._recipients - 1)
        self._recipients = 0

    def _answer_another(self, code: int) -> None:
        if code != self._more.pop():
            raise LedgerError(f"{code} for another recipient of the same message")

    def _answer_line(self, code: int) -> None:
        line, end, rest = self._sent.partition(b"\n")
        if not end and code not in _LAST:
            # A client of another protocol is told so before its line ends.
            raise LedgerError(f"{code}, a reply to nothing; not answered yet: {line!r}")
        self.replies.append((line, code))
        if self.mode == "command" and end and (chunk := _is_chunk(line)):
            self._answer_chunk(int(chunk[1]), bool(chunk[2]), code, rest)
            return
        in_exchange, self.mode, self._sent = self.mode == "auth", "command", rest
        verb = line.strip().upper()
        if code in (220, 250) and verb[:4] in _RESETS:
            self._chunks, self._recipients = b"", 0
        if code == 250 and verb[:4] == b"RCPT":
            self._recipients += 1
        if code == 354:
            # The CRLF of DATA may be that of the dot.
            self.mode, self._sent = "data", b"\r\n" + rest
            self.messages.append(Message(b""))
            if not verb.startswith(b"DATA"):
                raise LedgerError(f"354 to {line!r}")
        elif code == 334:
            self.mode = "auth"
            if not in_exchange and not verb.startswith(b"AUTH"):
                raise LedgerError(f"334 to {line!r}")
        elif code == 235:
            self.authenticated = True
        elif code == 220 and verb.startswith(b"XCLIENT"):
            # Who has logged in elsewhere may relay; the next client has not.
            self.authenticated = self.authenticated or bool(_is_login(verb))
        elif code == 220:
            self.tls_begins = True

    def _answer_chunk(self, size: int, last: bool, code: int, rest: bytes) -> None:
        """A reply to BDAT: 250 until the last chunk; any other ends the message."""
        if len(rest) < size and code < 400:
            raise LedgerError(f"{code} before the end of a chunk of {size}: {rest!r}")
        self._sent = rest[size:]
        if len(rest) < size:
            self.mode = "over"
        self._chunks += rest[:size]
        if last or code >= 400:
            self.messages.append(Message(self._chunks, code, in_chunks=True))
            self._chunks = b""
        if last:
            self._expect_more(code)
        elif code >= 400:
            self._recipients = 0
