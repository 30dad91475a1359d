# SPDX-License-Identifier: MIT
"""MimeReader: finds the parts of a message while it is read, and gives their text to a sink.

In a body it looks only for lines that begin with two hyphens, so an attachment that is not text
costs next to nothing.  Nothing is kept but the end of a line and the header section of a part.
Beyond its limits (parts, depth, boundaries) it does not stop but reads what comes as plain text.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from qpsmtpd.content.decoders import TextDecoder
from qpsmtpd.content.parthead import MAX_BOUNDARY, PartHead, read_part_head
from qpsmtpd.mail.headers import Headers

MAX_PARTS = 1000
MAX_DEPTH = 50
#: Octets of the header section of a part.
MAX_HEAD = 16384

#: A delimiter is a shorter line: hyphens, boundary, hyphens, and blanks that were added on the way.
_LONGEST_DELIMITER = MAX_BOUNDARY + 80

#: What looking at a part and at a line costs, in octets of text that could be read meanwhile.
_COST_OF_PART = 200
_COST_OF_LINE = 10


class TextSink(Protocol):
    """Takes the text of a message."""

    def add(self, text: str) -> None:
        """A piece of the text of a part."""
        ...

    def end_part(self) -> None:
        """The text of a part is complete."""
        ...


class _Delimiter(NamedTuple):
    """A delimiter line: its place, and the level of the multipart that it belongs to."""

    start: int
    end: int
    level: int
    closes: bool


class MimeReader:
    """Reads the body of one message."""

    def __init__(self, headers: Headers, sink: TextSink) -> None:
        """`headers`: the header section of the message."""
        self._sink = sink
        self._boundaries: list[bytes] = []
        #: The header section that is being read, if there is one.
        self._head: bytearray | None = None
        self._decoder: TextDecoder | None = None
        self._held = b""
        self._mid_line = False
        self._parts = 0
        #: What reading has cost so far, about as many octets of text.
        self.spent = 0
        self._begin_body(read_part_head(headers))

    def feed(self, block: bytes) -> None:
        """Read on.  A block may end anywhere; short ones cost more."""
        data = self._held + block
        end = data.rfind(b"\n") + 1
        if len(data) - end > _LONGEST_DELIMITER:
            end = len(data)
        self._held = data[end:]
        self._read(data[:end])

    def close(self) -> None:
        """The message is complete."""
        held, self._held = self._held, b""
        self._read(held)
        self._end_body()

    def _read(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            at = self._read_body(data, at) if self._head is None else self._read_head(data, at)
        if data:
            self._mid_line = not data.endswith(b"\n")

    # --- header sections of parts ---------------------------------------------------------------

    def _read_head(self, data: bytes, at: int) -> int:
        """Read one line; returns where the next one begins."""
        assert self._head is not None
        end = data.find(b"\n", at) + 1 or len(data)
        self.spent += _COST_OF_LINE
        line = data[at:end]
        whole = at > 0 or not self._mid_line
        if whole and line.startswith(b"--") and (found := self._delimiter_at(data, at, end)):
            return self._pass(found)
        if whole and line in (b"\r\n", b"\n"):
            self._begin_body(read_part_head(Headers.parse(bytes(self._head))))
        elif len(self._head) + len(line) > MAX_HEAD:
            self._begin_body(read_part_head(Headers.parse(bytes(self._head))))
            return at
        else:
            self._head += line
        return end

    # --- bodies ---------------------------------------------------------------------------------

    def _read_body(self, data: bytes, at: int) -> int:
        delimiter = self._next_delimiter(data, at)
        end = delimiter.start if delimiter else len(data)
        if self._decoder is not None and end > at:
            self.spent += end - at
            self._sink.add(self._decoder.feed(data[at:end]))
        return self._pass(delimiter) if delimiter else end

    def _next_delimiter(self, data: bytes, at: int) -> _Delimiter | None:
        if not self._boundaries:
            return None
        first = data.startswith(b"--", at) and not (at == 0 and self._mid_line)
        start = at if first else data.find(b"\n--", at) + 1
        while start or first:
            first = False
            end = data.find(b"\n", start) + 1 or len(data)
            self.spent += _COST_OF_LINE
            if delimiter := self._delimiter_at(data, start, end):
                return delimiter
            start = data.find(b"\n--", start) + 1
        return None

    def _delimiter_at(self, data: bytes, start: int, end: int) -> _Delimiter | None:
        """The delimiter that a line is, if it is one (RFC 2046 section 5.1.1)."""
        if end - start > _LONGEST_DELIMITER:
            return None
        text = data[start + 2 : end].rstrip()
        for closes, boundary in ((False, text), (True, text.removesuffix(b"--"))):
            if boundary in self._boundaries:
                return _Delimiter(start, end, self._boundaries.index(boundary), closes)
        return None

    def _pass(self, delimiter: _Delimiter) -> int:
        """Go on behind a delimiter: with the next part, or with what is below the last one."""
        self._end_body()
        self._parts += 1
        self.spent += _COST_OF_PART
        if self._parts > MAX_PARTS:
            self._boundaries.clear()
        else:
            del self._boundaries[delimiter.level + (not delimiter.closes) :]
        if delimiter.closes or not self._boundaries:
            self._begin_body(PartHead())
        else:
            self._head = bytearray()
        return delimiter.end

    def _begin_body(self, head: PartHead) -> None:
        self._head = None
        if head.is_message and self._parts < MAX_PARTS:
            self._parts += 1
            self.spent += _COST_OF_PART
            self._head = bytearray()
            return
        if head.boundary and len(self._boundaries) < MAX_DEPTH:
            self._boundaries.append(head.boundary)
            # Text above the first part, which has no encoding.
            head = PartHead()
        self._decoder = TextDecoder(head) if head.is_text else None

    def _end_body(self) -> None:
        decoder, self._decoder, self._head = self._decoder, None, None
        if decoder is not None:
            self._sink.add(decoder.end())
            self._sink.end_part()
