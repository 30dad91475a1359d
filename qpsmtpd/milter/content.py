# SPDX-License-Identifier: MIT
"""Content: a message as a milter sees it, which is how the next hop will see it.

That is the header section with what we and other plugins have added, but without our own Received
field, which Sendmail and Postfix hide as well: a milter knows from elsewhere what it says, and
counts Received fields from the first one that came.  A line that is not a field ends the header
section, as it does for mail systems, and begins the body: nothing that a reader may get to see is
kept from a filter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from qpsmtpd.mail.headers import HeaderField
from qpsmtpd.mail.message import Message
from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Transaction
from qpsmtpd.milter.codec import MAX_DATA

#: Our own Received field as it stands; set when the first milter gets the message.
OWN_RECEIVED = Note[bytes]("milter.own_received")


def own_received(tx: Transaction) -> bytes:
    """Our own Received field: the topmost, before any milter has added one.  b"" if there is none.

    From `hook_data_post` on.
    """
    own = tx.notes.get(OWN_RECEIVED)
    if own is None:
        assert tx.message is not None
        ours = [] if tx.session.hosted else tx.message.headers.raw("Received")
        own = next(iter(ours), b"")
        tx.notes[OWN_RECEIVED] = own
    return own


def visible_fields(tx: Transaction) -> list[HeaderField]:
    """The fields that a milter gets to see, from the top down."""
    assert tx.message is not None
    own, fields = own_received(tx), tx.message.headers.before_text()
    # The first that looks like it: somebody might send us the same line again.
    at = next((n for n, field in enumerate(fields) if field.raw == own), len(fields))
    return fields[:at] + fields[at + 1 :]


def real_number(tx: Transaction, name: str, nth: int) -> int | None:
    """Which field of this name is the n-th that a milter sees; None if there are fewer."""
    assert tx.message is not None
    key, own, seen = name.lower().encode(), own_received(tx), 0
    same = (field for field in tx.message.headers.before_text() if field.key == key)
    for number, field in enumerate(same, start=1):
        if field.raw == own:
            own = b""
            continue
        seen += 1
        if seen == nth:
            return number
    return None


async def body_chunks(message: Message) -> AsyncIterator[bytes]:
    """The body in chunks of 64 KB, as large as a packet may be."""
    held = b""
    async for block in _body(message):
        data = held + block if held else block
        whole = len(data) - len(data) % MAX_DATA
        for start in range(0, whole, MAX_DATA):
            yield data[start : start + MAX_DATA]
        held = data[whole:]
    if held:
        yield held


async def _body(message: Message) -> AsyncIterator[bytes]:
    text = message.headers.text_after_fields()
    if not text:
        async for block in message.stream_body():
            yield block
        return
    yield text
    async for block in message.body.stream():
        yield block
