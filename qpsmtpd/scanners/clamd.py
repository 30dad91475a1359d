# SPDX-License-Identifier: MIT
"""clamd: the protocol of ClamAV's daemon (clamd(8), section COMMANDS), as far as INSTREAM needs it.

A command begins with z and ends with NUL, and so does the answer.  After INSTREAM the message comes
in chunks, each with its length in four octets before it, and a length of 0 ends it.
"""

from __future__ import annotations

import struct
from contextlib import aclosing
from dataclasses import dataclass

from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.fields import short_name
from qpsmtpd.scanners.wire import Blocks, ScannerError, ScannerWire

PORT = 3310

#: Bytes of an answer.
MAX_ANSWER = 8192

_length = struct.Struct(">I").pack


@dataclass(frozen=True, slots=True)
class ClamdAnswer:
    """What clamd says about a message.

    virus: the name of what it found, "" if that is nothing.
    too_large: it did not look, as its StreamMaxLength is less than the message.
    """

    virus: str = ""
    too_large: bool = False


def parse_answer(octets: bytes) -> ClamdAnswer:
    """What an answer to INSTREAM means.  Raises ScannerError."""
    text = octets.decode("utf-8", "replace").strip()
    if text == "stream: OK":
        return ClamdAnswer()
    if text.startswith("INSTREAM size limit exceeded"):
        return ClamdAnswer(too_large=True)
    if text.startswith("stream: ") and text.endswith(" FOUND"):
        return ClamdAnswer(short_name(text.removeprefix("stream: ").removesuffix(" FOUND")))
    raise ScannerError(f"answers {text[:200]!r}")


async def scan(wire: ScannerWire, content: Content) -> ClamdAnswer:
    """Have a message scanned.  Raises ScannerError."""
    if await wire.send(b"zINSTREAM\0"):
        await wire.send_all(_chunks(content))
    return parse_answer(await wire.read_until(b"\0", MAX_ANSWER))


async def _chunks(content: Content) -> Blocks:
    async with aclosing(content.blocks()) as blocks:
        async for block in blocks:
            yield _length(len(block))
            yield block
    yield _length(0)


async def ping(wire: ScannerWire) -> None:
    """Make sure that it is there.  Raises ScannerError."""
    await wire.send(b"zPING\0")
    if await wire.read_until(b"\0", MAX_ANSWER) != b"PONG":
        raise ScannerError("does not answer PING with PONG")


async def version(wire: ScannerWire) -> str:
    """Its version, and that of its signatures.  Raises ScannerError."""
    await wire.send(b"zVERSION\0")
    answer = (await wire.read_until(b"\0", MAX_ANSWER)).decode("utf-8", "replace")
    if not answer.startswith("ClamAV "):
        raise ScannerError("does not speak the protocol of clamd")
    return short_name(answer)
