# SPDX-License-Identifier: MIT
"""What scanners get to see of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.message import SLAB, Message, Spool
from qpsmtpd.scanners.content import Content
from qpsmtpd.testing import a_message


async def text_of(content: Content) -> bytes:
    text = b"".join([block async for block in content.blocks()])
    assert len(text) == content.size
    return text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Subject: x\n\nHello.\n", b"A: b\r\nSubject: x\r\n\r\nHello.\r\n"),
        ("Subject: x\n", b"A: b\r\nSubject: x\r\n"),
        ("\nHello.\n", b"A: b\r\n\r\nHello.\r\n"),
        # Below a field it would look like a part of the header section.
        ("Hello.\n", b"A: b\r\n\r\nHello.\r\n"),
    ],
)
async def test_the_whole_message(message: str, text: bytes) -> None:
    content = Content(a_message(message), b"A: b\r\n")
    assert await text_of(content) == text
    assert await text_of(content) == text


async def test_changes_of_plugins_are_in_it() -> None:
    message = a_message("Subject: x\n\nHello.\n")
    message.headers.prepend("X-A", "1")
    await message.replace_body(b"Bye.\r\n")
    assert await text_of(Content(message)) == b"X-A: 1\r\nSubject: x\r\n\r\nBye.\r\n"


async def test_a_message_in_a_file_comes_in_slabs(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    for _ in range(3):
        spool.write(b"x" * SLAB)
    message = Message(Headers.parse(b"A: b\r\n"), await spool.seal(), 0)
    content = Content(message)
    sizes = [len(block) async for block in content.blocks()]
    assert sizes == [6, SLAB, SLAB, SLAB]
    assert content.size == sum(sizes)
    message.close()
