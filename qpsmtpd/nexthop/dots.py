# SPDX-License-Identifier: MIT
"""Dot-stuffing (RFC 5321 section 4.5.2), in bulk and across block boundaries."""

from __future__ import annotations


class DotStuffer:
    """Doubles the dots at line starts of one message.  Its line ends must be CRLF already."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        # The message begins at the start of a line.
        self._tail = b"\r\n"

    def feed(self, block: bytes) -> bytes | memoryview:
        """The block as it goes over the wire."""
        work = self._tail + block
        known = len(self._tail)
        self._tail = work[-2:]
        if b"\r\n." in work:
            work = work.replace(b"\r\n.", b"\r\n..")
        return memoryview(work)[known:]

    def end(self) -> bytes:
        """The end of data, after a line end where the message lacks one."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
