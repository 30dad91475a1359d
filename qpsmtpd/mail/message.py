# SPDX-License-Identifier: MIT
"""The spool: where one message is kept while it is decided upon.

It is scratch, not a queue: 250 is sent only after the next hop has taken the message, so what is
lost here in a crash is sent again by the client.  Small bodies stay in memory; from `threshold`
bytes on, or when all messages together take up too much memory (spoolmemory.py), a body goes to an
unlinked file in `spool_dir`, which the kernel removes with the process.  File contents are
written and read in slabs, in a thread, so that a slow disk delays one session only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import BinaryIO

from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.scratch import PRIVATE, scratch_descriptor
from qpsmtpd.mail.spoolmemory import ALLOWANCE, SpoolMemory

#: Bytes that are written to or read from the file at once.
SLAB = 1 << 20

#: Errors that say that there is no room for the message.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

#: Blocks of fewer bytes are copied together: each object costs up to 50 bytes more than it holds,
#: and what asyncio has received keeps the heap from shrinking.
_SMALL = 2048

#: What `IncrementalNewlineDecoder.newlines` is after text with no line ends but CRLF.
_NO_OTHERS = (None, "\r\n")


class Spool:
    """Takes the body of one message, block by block."""

    __slots__ = (
        "_beside",
        "_directory",
        "_file",
        "_memory",
        "_mode",
        "_parts",
        "_pending",
        "_small",
        "_threshold",
        "size",
    )

    def __init__(
        self,
        directory: Path,
        threshold: int,
        memory: SpoolMemory | None = None,
        mode: int = PRIVATE,
    ) -> None:
        """`memory` is that of all spools; without it, this one is alone.

        mode: permissions of the directory, if it has to be made again.
        """
        self._directory = directory
        self._mode = mode
        self._threshold = threshold
        self._memory = memory or SpoolMemory()
        self._parts: list[bytes] = []
        #: The last of the parts, while it is made of small blocks.
        self._small = bytearray()
        #: Bytes of the body in memory, and of what the message has there beside it.
        self._pending = 0
        self._beside = 0
        self._file: BinaryIO | None = None
        #: Bytes of the body so far.
        self.size = 0

    def write(self, block: bytes) -> None:
        """Append a block.  It stays in memory until `flush`."""
        size = len(block)
        if size < _SMALL:
            self._small += block
        else:
            if self._small:
                self._end_small()
            self._parts.append(block)
        self._pending += size
        self.size += size
        self._memory.take(size)

    def _end_small(self) -> None:
        self._parts.append(bytes(self._small))
        self._small.clear()

    def take_beside(self, size: int) -> bool:
        """Count bytes that the message has in memory beside its body.

        False if it has enough of them, and all messages together have too many.
        """
        self._beside += size
        self._memory.take(size)
        return self._beside <= ALLOWANCE or not self._memory.scarce

    @property
    def needs_flush(self) -> bool:
        """Whether enough is waiting in memory that `flush` should be awaited now."""
        enough = SLAB if self._file else self._threshold
        return self._pending >= (min(ALLOWANCE, enough) if self._memory.scarce else enough)

    async def flush(self) -> None:
        """Move what is waiting in memory to the file.  Raises SpoolError: disk full, I/O error."""
        parts, size = self._take_parts()
        if not parts:
            return
        try:
            await self._write(parts)
        finally:
            self._memory.give_back(size)

    def _take_parts(self) -> tuple[list[bytes], int]:
        """What is in memory of the body, and its size; it is not the spool's any more."""
        if self._small:
            self._end_small()
        parts, self._parts = self._parts, []
        size, self._pending = self._pending, 0
        return parts, size

    async def _write(self, parts: list[bytes]) -> None:
        writing = asyncio.create_task(asyncio.to_thread(self._write_out, parts))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The file must not be closed under the thread that writes it.
            await asyncio.wait((writing,))
            raise
        except OSError as error:
            self.discard()
            full = error.errno in _FULL
            raise SpoolError(f"{self._directory}: {error.strerror}", full=full) from error

    def _write_out(self, parts: list[bytes]) -> None:
        if self._file is None:
            handle, path = scratch_descriptor(self._directory, "message-", self._mode)
            self._file = open(handle, "w+b", buffering=0)  # noqa: SIM115, PTH123 (a descriptor)
            path.unlink()
        rest = memoryview(b"".join(parts))
        while rest:
            rest = rest[self._file.write(rest) :]

    def discard(self) -> None:
        """Forget everything: the message is refused, or the session is gone."""
        _, size = self._take_parts()
        self._memory.give_back(size + self._beside)
        self._beside = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def in_memory(self) -> tuple[bytes, ...]:
        """The blocks that were not moved to the file."""
        return (*self._parts, bytes(self._small)) if self._small else tuple(self._parts)

    def another(self) -> Spool:
        """An empty spool in the same directory, with the same limits."""
        return Spool(self._directory, self._threshold, self._memory, self._mode)

    async def seal(self) -> Body:
        """Finish writing.  The body returned owns all that we have.  Raises SpoolError."""
        if self._file is not None or self._pending >= max(self._threshold, 1):
            await self.flush()
        parts, counted = self._take_parts()
        counted, self._beside = counted + self._beside, 0
        file, self._file = self._file, None
        return Body(b"".join(parts), file, self.size, self._memory, counted)


class Body:
    """The body of a message, in memory or in a file, CRLF line ends."""

    __slots__ = ("_counted", "_data", "_file", "_memory", "size")

    def __init__(
        self,
        data: bytes,
        file: BinaryIO | None,
        size: int,
        memory: SpoolMemory | None = None,
        counted: int = 0,
    ) -> None:
        """`counted`: bytes that the message has in memory, of those that `memory` counts."""
        self._data = data
        self._file = file
        self.size = size
        self._memory = memory
        self._counted = counted

    @property
    def in_memory(self) -> bytes | None:
        """The whole body when it is in memory, else None."""
        return self._data if self._file is None else None

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in slabs."""
        if self._file is None:
            if self._data:
                yield self._data
            return
        position = 0
        while slab := await asyncio.to_thread(os.pread, self._file.fileno(), SLAB, position):
            yield slab
            position += len(slab)

    def close(self) -> None:
        """Free the memory or the file."""
        self._data = b""
        if self._memory is not None:
            self._memory.give_back(self._counted)
            self._counted = 0
        if self._file is not None:
            self._file.close()
            self._file = None


#: The body of a message of which only the header section has been read so far.
NOT_READ_YET = Body(b"", None, 0)


def _in_memory() -> Spool:
    return Spool(Path(), sys.maxsize)


class Message:
    """A message: its header section and its body, which plugins may change.

    headers: the header section.
    body: the rest; it begins with the empty line, unless the message had none.
    size: bytes of the header section as it was received, and of the body; with CRLF line ends and
        without dot-stuffing.
    eight_bit: whether a plugin has put octets above 127 into the body.
    """

    __slots__ = ("_new_spool", "_received_body", "body", "eight_bit", "headers", "size")

    def __init__(
        self,
        headers: Headers,
        body: Body,
        size: int,
        new_spool: Callable[[], Spool] = _in_memory,
    ) -> None:
        """`new_spool` makes spools for further bodies; without it they stay in memory."""
        self.headers = headers
        self.body = self._received_body = body
        self.size = size
        self.eight_bit = False
        self._new_spool = new_spool

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """Make a message from text in memory, CRLF line ends (for tests and plugins)."""
        end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
        if end < 2 and not data.startswith(b"\r\n"):
            end = len(data)
        body = data[end:]
        return cls(Headers.parse(data[:end]), Body(body, None, len(body)), len(data))

    @property
    def body_as_received(self) -> bool:
        """Whether no plugin has replaced the body."""
        return self.body is self._received_body

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the message as it is handed over: headers, empty line, body; CRLF."""
        async for block in self._stream(bytes(self.headers)):
            yield block

    async def stream_for_readers(self) -> AsyncIterator[bytes]:
        """Yield the message with an empty line above text that stands below the last field.

        A message may be text without any header section: below our fields it would be taken for a
        part of them, and nobody would see it.  Mail systems add this line as well.
        """
        async for block in self._stream(self.headers_for_readers):
            yield block

    @property
    def headers_for_readers(self) -> bytes:
        """What `stream_for_readers` puts above the body."""
        headers, text = bytes(self.headers), self.headers.text_below
        return headers.removesuffix(text) + b"\r\n" + text if text else headers

    async def _stream(self, headers: bytes) -> AsyncIterator[bytes]:
        if (body := self.body.in_memory) is not None:
            yield headers + body
            return
        yield headers
        async for slab in self.body.stream():
            yield slab

    async def stream_body(self) -> AsyncIterator[bytes]:
        """Yield what follows the empty line: the body in the sense of RFC 5322 section 2.1."""
        empty_line = 2
        async for slab in self.body.stream():
            if len(slab) > empty_line:
                yield slab[empty_line:]
            empty_line = 0

    async def replace_body(self, text: bytes | AsyncIterable[bytes]) -> None:
        """Replace what follows the empty line by another text.

        It comes in one piece or in blocks that may end anywhere, and may be made from
        `stream_body`.  A large one goes to a file.  Fields that describe the body (MIME boundaries,
        transfer encoding) are up to the caller.

        Raises ValueError unless all lines, including the last, end with CRLF and there is no other
        CR or LF and no NUL; SpoolError when it cannot be stored; RuntimeError in
        `hook_data_headers_end`, before there is a body.  The message is then as it was.
        """
        if self.body is NOT_READ_YET:
            raise RuntimeError("the body of the message has not been read yet")
        blocks = _slabs(text) if isinstance(text, bytes) else text
        spool = self._new_spool()
        try:
            eight_bit = await _store(blocks, spool)
            body = await spool.seal()
        finally:
            spool.discard()
        self.size += body.size - self.body.size
        self.body.close()
        self.body, self.eight_bit = body, eight_bit

    async def read(self, limit: int) -> bytes:
        """The message in one piece, cut at `limit` bytes (for scanners with a size limit)."""
        parts: list[bytes] = []
        left = limit
        async for block in self.stream():
            parts.append(block[:left])
            left -= len(parts[-1])
            if not left:
                break
        return b"".join(parts)

    def close(self) -> None:
        """Free what the message holds."""
        self.body.close()


async def _slabs(text: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(text), SLAB):
        yield text[start : start + SLAB]


async def _store(blocks: AsyncIterable[bytes], spool: Spool) -> bool:
    """Write the empty line and the blocks; returns whether they have octets above 127."""
    spool.write(b"\r\n")
    eight_bit = False
    held, last = b"", b"\r\n"
    async for block in blocks:
        whole = held + block
        held = b"\r" if whole.endswith(b"\r") else b""
        part = whole[: len(whole) - len(held)]
        if not only_crlf(part) or b"\0" in part:
            raise ValueError("a line of the body contains a bare CR, a bare LF or a NUL")
        eight_bit = eight_bit or not part.isascii()
        last = (last + part)[-2:]
        spool.write(part)
        if spool.needs_flush:
            await spool.flush()
    if held or last != b"\r\n":
        raise ValueError("the last line of the body does not end with CRLF")
    return eight_bit


def only_crlf(block: bytes) -> bool:
    """Whether every CR and every LF is one half of a CRLF.

    Python's decoder of text files notes which line ends it meets.  This takes two thirds of the
    time that removing every CRLF takes, and a third of counting the three.
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(block.decode("latin-1"), final=True)
    return decoder.newlines in _NO_OTHERS
