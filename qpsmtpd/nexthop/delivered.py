# SPDX-License-Identifier: MIT
"""Delivered: which recipients of a message already have it, when others must be tried again.

One reply to our client cannot say "some now, some later".  So the whole message is deferred, and
this memory keeps the client's next attempt from reaching those who have it.  It lives in one
worker: an attempt at another one, or after a restart, delivers to them again; twice is better than
not at all.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

from qpsmtpd.mail.session import Transaction
from qpsmtpd.plugin.services import Clock

#: Fields that tell messages apart and that nobody changes on the way to us.
_FIELDS = ("Message-ID", "Date", "From", "Resent-Message-ID")


class Delivered:
    """Remembers at most `messages` messages, each for `seconds`."""

    def __init__(self, clock: Clock, *, seconds: float, messages: int = 10000) -> None:
        self._clock = clock
        self._seconds = seconds
        self._messages = messages
        # Oldest first: fingerprint → when it was added, and the recipients.
        self._entries: OrderedDict[bytes, tuple[float, frozenset[str]]] = OrderedDict()

    def __bool__(self) -> bool:
        self._forget_old()
        return bool(self._entries)

    def recipients(self, fingerprint: bytes) -> frozenset[str]:
        """The addresses that have the message."""
        self._forget_old()
        return self._entries.get(fingerprint, (0.0, frozenset[str]()))[1]

    def add(self, fingerprint: bytes, recipients: Iterable[str]) -> None:
        """Remember that these addresses have the message too."""
        known = self.recipients(fingerprint)
        self.forget(fingerprint)
        self._entries[fingerprint] = (self._clock.monotonic(), known | frozenset(recipients))
        while len(self._entries) > self._messages:
            self._entries.popitem(last=False)

    def forget(self, fingerprint: bytes) -> None:
        """The message is done: nobody will try it again."""
        self._entries.pop(fingerprint, None)

    def _forget_old(self) -> None:
        limit = self._clock.monotonic() - self._seconds
        while self._entries and next(iter(self._entries.values()))[0] < limit:
            self._entries.popitem(last=False)


async def fingerprint(tx: Transaction) -> bytes:
    """A digest of what stays the same when a client tries a message again.

    Our own header fields (Received, Authentication-Results) differ each time.
    """
    assert tx.message is not None
    digest = hashlib.sha256(tx.sender.encode() + b"\0")
    for name in _FIELDS:
        digest.update(b"".join(tx.message.headers.raw(name)) + b"\0")
    async for block in tx.message.body.stream():
        digest.update(block)
    return digest.digest()
