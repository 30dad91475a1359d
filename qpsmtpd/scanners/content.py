# SPDX-License-Identifier: MIT
"""Content: a message as scanners get it: as readers will see it, streamed from the spool."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from qpsmtpd.mail.message import Message


class Content:
    """A message with its size, to be streamed any number of times."""

    def __init__(self, message: Message, above: bytes = b"") -> None:
        """`above`: header fields that only the scanner sees."""
        self._head = above + message.headers_for_readers
        self._body = message.body
        #: Bytes of the whole.
        self.size = len(self._head) + message.body.size

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The message in blocks; its body is in memory only if the spool has it there."""
        yield self._head
        async for slab in self._body.stream():
            yield slab


class Octets:
    """A few octets that are not a message, to be sent as if they were."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """All of them."""
        yield self._octets
