# SPDX-License-Identifier: MIT
"""DataReader: finds the end of a message in the stream and takes the message out of it.

Reader is what it shares with the one of BDAT (chunkreader.py), which is told where a message ends.

Theory of operation.  Bytes come in blocks of any size.  End of data is CRLF "." CRLF and nothing
else (RFC 5321 section 4.1.1.4); the CRLF that ended the DATA command counts as its first CRLF, so
the reader starts as if it held one.  A suffix of a block that may be the start of the terminator
is held back and put in front of the next block; hence a block never splits a CRLF, or a CRLF from
the dot after it, and dot-unstuffing (section 4.5.2) is one bulk replacement.

The first fault decides the fate of the message: from then on nothing is stored, but the stream
is read to the real end of data, in constant memory, so that the session stays in step.  A bare
CR, a bare LF or a NUL is such a fault: it never ends a line, and it never reaches the next hop.

With `tolerant`, a bare LF ends a line in the message and becomes CRLF.  Still nothing but CRLF "."
CRLF ends the message, and a dot alone on a line is a fault where one of the line ends is a bare LF,
for others may have ended the message there.  More is held back of a block then, so that no line end
is apart from a dot after it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Spool, only_crlf

TERMINATOR = b"\r\n.\r\n"
_HOLDABLE = tuple(TERMINATOR[:length] for length in (4, 3, 2, 1))
#: What may be the beginning of a line with nothing but a dot, whatever ends the lines.
_dot_line_begun = re.compile(rb"(?:\r|\r?\n(?:\.\r?)?)\Z").search
#: A line with nothing but a dot, where no CRLF "." CRLF is left.
_lone_dot = re.compile(rb"\n\.\r?\n").search
_bare_lf = re.compile(rb"(?<!\r)\n")
_DOT_LINE = b"\r\n."


class DataFault(enum.Enum):
    """Why a message is refused while it is read."""

    BARE_LINE_END = "bare CR or LF"
    NUL = "NUL"
    LINE_TOO_LONG = "line too long"
    HEADER_TOO_LARGE = "header section too large"
    TOO_MANY_HEADERS = "too many header fields"
    TOO_BIG = "message too big"
    NO_MEMORY = "no memory for the header section"


def with_crlf(block: bytes) -> bytes:
    """The block with CRLF wherever it had a bare LF.  Linear."""
    return _bare_lf.sub(b"\r\n", block)


def whole_message(block: bytes, limits: DataLimits) -> tuple[bytes, bytes] | None:
    """Header section and body of a message that came in one block, with the end of data.

    None of a message that the reader has to look at, because something about it is not usual.  Most
    mail is small and comes like this, and then takes a third of the time.
    """
    if not block.endswith(TERMINATOR) or block.find(_DOT_LINE) != len(block) - len(TERMINATOR):
        return None
    return _whole(block[: -len(TERMINATOR) + 2], limits)


def whole_text(text: bytes, limits: DataLimits) -> tuple[bytes, bytes] | None:
    """The same for a message that ends where the text does."""
    return _whole(text, limits) if text.endswith(b"\r\n") else None


def _whole(text: bytes, limits: DataLimits) -> tuple[bytes, bytes] | None:
    size = len(text)
    if (
        text.startswith((b".", b"\r\n"))
        or size > limits.line
        or 0 < limits.size < size
        or text.find(b"\0") >= 0  # `in` first tries a number, which costs five times as much
        or not only_crlf(text)
    ):
        return None
    end = text.find(b"\r\n\r\n") + 2
    header = text[:end]
    if end < 2 or end > limits.header or header.count(b"\r\n") > limits.header_fields:
        return None
    return header, text[end:]


class Reader:
    """Writes the blocks of one message to a spool, and looks whether anything is wrong with them.

    No block may be split within a CRLF, nor, in the header section, behind one.
    """

    __slots__ = (
        "_fields",
        "_header",
        "_limits",
        "_line",
        "_spool",
        "_write",
        "fault",
        "header",
        "size",
    )

    def __init__(self, spool: Spool, limits: DataLimits) -> None:
        self._spool = spool
        self._write = spool.write
        self._limits = limits
        self._line = 0
        self._header = bytearray()
        self._fields = 0
        #: The header section with its line ends, without the empty line; None until it is
        #: complete, and forever if the message is faulty before that.
        self.header: bytes | None = None
        #: Bytes of the message: header section, empty line and body, CRLF line ends, unstuffed.
        self.size = 0
        self.fault: DataFault | None = None

    def tap(self, listen: Callable[[bytes], None]) -> None:
        """Pass the body to a function as well, block by block as it goes to the spool.

        What is in the spool already, because it came with the header section, is passed at once.
        """
        store = self._spool.write

        def store_and_tell(block: bytes) -> None:
            store(block)
            listen(block)

        for block in self._spool.in_memory:
            listen(block)
        self._write = store_and_tell

    def _keep(self, block: bytes) -> None:
        """Take a block of the message, unless it or an earlier one is at fault."""
        if self.fault is not None:
            return
        self.size += len(block)
        self.fault = self._fault_of(block)
        if self.fault is None:
            if self.header is None:
                self._store_header(block)
            else:
                self._write(block)
        if self.fault is not None:
            self.refuse(self.fault)

    def refuse(self, fault: DataFault) -> None:
        """From now on nothing is stored; the first fault counts."""
        self.fault = self.fault or fault
        self._spool.discard()
        self._header.clear()

    def _fault_of(self, block: bytes) -> DataFault | None:
        if not only_crlf(block):
            return DataFault.BARE_LINE_END
        if b"\0" in block:
            return DataFault.NUL
        return self._line_fault(block) or (
            DataFault.TOO_BIG if 0 < self._limits.size < self.size else None
        )

    def _line_fault(self, block: bytes) -> DataFault | None:
        last = block.rfind(b"\r\n")
        if self._line + len(block) <= self._limits.line:
            # Wherever its line ends are, no line in here can be too long.
            self._line = len(block) - last - 2 if last >= 0 else self._line + len(block)
            return None
        return self._line_too_long(block, last)

    def _line_too_long(self, block: bytes, last: int) -> DataFault | None:
        """Jump from line end to line end up to the last, each time as far as the limit allows.

        A line that continues in the next block is judged there.
        """
        limit = self._limits.line
        position = block.find(b"\r\n")
        if self._line + (position if position >= 0 else len(block)) > limit:
            return DataFault.LINE_TOO_LONG
        while position < last:
            following = block.rfind(b"\r\n", position + 2, position + limit + 4)
            if following < 0:
                return DataFault.LINE_TOO_LONG
            position = following
        self._line = len(block) - last - 2
        return None

    def _store_header(self, block: bytes) -> None:
        """Collect the header section; what follows, from its empty line on, goes to the spool."""
        end = self._header_end(block)
        part = block if end < 0 else block[:end]
        self._header += part
        self._fields += part.count(b"\r\n") - part.count(b"\r\n ") - part.count(b"\r\n\t")
        if len(self._header) > self._limits.header:
            self.fault = DataFault.HEADER_TOO_LARGE
        elif self._fields > self._limits.header_fields:
            self.fault = DataFault.TOO_MANY_HEADERS
        elif not self._spool.take_beside(len(part)):
            self.fault = DataFault.NO_MEMORY
        elif end >= 0:
            self._finish_header()
            self._write(block[end:])

    def _header_end(self, block: bytes) -> int:
        """Where the empty line begins, or -1.

        A block that ends with CRLF is the last one or followed by one that begins with CRLF, so
        nothing that matters here, such as the white space that continues a field, is split off.
        """
        if block.startswith(b"\r\n") and (not self._header or self._header.endswith(b"\r\n")):
            return 0
        found = block.find(b"\r\n\r\n")
        return found + 2 if found >= 0 else -1

    def _finish_header(self) -> None:
        """A message may end without an empty line: then all of it is the header section."""
        if self.header is None and self.fault is None:
            self.header = bytes(self._header)
            self._header.clear()


class DataReader(Reader):
    """Reads the message of DATA into a spool.  Feed it until it returns what follows the end."""

    __slots__ = ("_at_start", "_held", "_tolerant")

    def __init__(self, spool: Spool, limits: DataLimits, *, tolerant: bool = False) -> None:
        super().__init__(spool, limits)
        self._tolerant = tolerant
        self._held = b"\r\n"
        self._at_start = True

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes of the stream.

        Returns None while the message goes on, else the bytes after the end of data.
        """
        work = self._held + data
        # Most blocks have no line that begins with a dot, and those of attachments no dot at all.
        dot = work.find(_DOT_LINE) if b"." in work else -1
        end = work.find(TERMINATOR, dot) if dot >= 0 else -1
        if self._tolerant and _lone_dot(work if end < 0 else work[: end + 2]):
            self.refuse(DataFault.BARE_LINE_END)
        if end >= 0:
            self._take(work[: end + 2], stuffed=True)
            self._finish_header()
            return work[end + len(TERMINATOR) :]
        cut = len(work) - (_holdable_if_tolerant(work) if self._tolerant else _holdable(work))
        self._held = work[cut:]
        if cut:
            self._take(work[:cut], stuffed=dot >= 0)
        return None

    def _take(self, block: bytes, *, stuffed: bool) -> None:
        if self._tolerant and not only_crlf(block):
            block = with_crlf(block)
            stuffed = True
        if stuffed:
            block = block.replace(_DOT_LINE, b"\r\n")
        if self._at_start:
            self._at_start = False
            block = block[2:]
        self._keep(block)


def _holdable(work: bytes) -> int:
    """The length of the longest suffix that may be the beginning of the terminator."""
    for prefix in _HOLDABLE:
        if work.endswith(prefix):
            return len(prefix)
    return 0


def _holdable_if_tolerant(work: bytes) -> int:
    """The same, where a bare LF ends a line as well."""
    begun = _dot_line_begun(work)
    return len(begun[0]) if begun else 0
