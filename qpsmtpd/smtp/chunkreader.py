# SPDX-License-Identifier: MIT
"""ChunkReader: takes a message out of the chunks of BDAT (RFC 3030).

The octets of chunks are those of the message: no line ends it, and no dot is doubled.  What may be
in it is the same as after DATA: a bare CR, a bare LF or a NUL is a fault, or with `tolerant` a bare
LF becomes CRLF.  A chunk may end within a CRLF, and the last one without a line end; it is added.

With `binary` (BODY=BINARYMIME) any octet may be in the body, and it stays as it is.  The header
section has lines all the same.
"""

from __future__ import annotations

from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Spool, only_crlf
from qpsmtpd.smtp.datareader import DataFault, Reader, with_crlf


class ChunkReader(Reader):
    """Reads the message of a series of BDAT into a spool.  Feed it, and say when it is complete."""

    __slots__ = ("_binary", "_ends_line", "_held", "_tolerant")

    def __init__(
        self, spool: Spool, limits: DataLimits, *, tolerant: bool = False, binary: bool = False
    ) -> None:
        super().__init__(spool, limits)
        self._tolerant = tolerant and not binary
        self._binary = binary
        self._held = b""
        self._ends_line = True

    def expect(self, size: int) -> None:
        """Refuse the message, if a chunk of this size makes it too big, before that has come."""
        if 0 < self._limits.size < self.size + len(self._held) + size:
            self.refuse(DataFault.TOO_BIG)

    def feed(self, block: bytes) -> None:
        """Take the next octets of the message."""
        if self.fault is not None:
            return
        work = self._held + block if self._held else block
        cut = len(work) - self._holdable(work)
        self._held = work[cut:]
        if cut:
            self._take(work[:cut])

    def finish(self) -> None:
        """The message is complete."""
        if self._held:
            self._take(self._held)
            self._held = b""
        if not self._ends_line:
            self._take(b"\r\n")
        self._finish_header()

    def _holdable(self, work: bytes) -> int:
        """How many octets at the end must not be separated from what follows (see Reader)."""
        if self.header is not None:
            return int(not self._binary and work.endswith(b"\r"))
        if work.endswith(b"\r\n"):
            return 2
        return int(work.endswith((b"\r", b"\n") if self._tolerant else b"\r"))

    def _take(self, block: bytes) -> None:
        if self._tolerant and not only_crlf(block):
            block = with_crlf(block)
        self._ends_line = self._binary or block.endswith(b"\r\n")
        self._keep(block)

    def _fault_of(self, block: bytes) -> DataFault | None:
        if not self._binary:
            return super()._fault_of(block)
        if self.header is None:
            end = self._header_end(block)
            if fault := super()._fault_of(block if end < 0 else block[:end]):
                return fault
        return DataFault.TOO_BIG if 0 < self._limits.size < self.size else None
