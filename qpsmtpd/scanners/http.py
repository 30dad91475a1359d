# SPDX-License-Identifier: MIT
"""HTTP/1.1 (RFC 9112) as far as asking a scanner or a daemon needs it: one request on a connection,
a message as its content perhaps, and a limited answer.

A library would be another dependency that reads what others write; aiohttp, which Debian packages,
is larger than all of our rooms, and keeps the content in memory or needs wrappers around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qpsmtpd.scanners.content import Content, Octets
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

#: Bytes of a line of the head, the number of its fields, and bytes of the content.
MAX_LINE = 8192
MAX_FIELDS = 64
MAX_CONTENT = 2 << 20

#: Answers that announce another one (100 Continue).
MAX_INTERIM = 4

_status = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?").fullmatch
_is_hex = re.compile(rb"[0-9A-Fa-f]{1,8}").fullmatch
_is_size = re.compile(r"[0-9]{1,10}").fullmatch


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status code and its content.

    delimited: the content has an end of its own; where the end of the connection is its end, nobody
    can tell whether something is missing.
    """

    status: int
    content: bytes
    delimited: bool = True


def request_head(
    method: str, path: str, fields: Iterable[tuple[str, str]], size: int | None
) -> bytes:
    """The head of a request; content of `size` bytes follows, or none.

    The values may be anything: what no field may have becomes a question mark.
    """
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    lines += [] if size is None else [f"Content-Length: {size}"]
    lines += [f"{name}: {_clean(value)}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


def _clean(value: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in value)


def parse_status(line: bytes) -> int:
    """The code in the first line of an answer.  Raises ScannerError."""
    match = _status(line)
    if match is None:
        raise ScannerError("does not speak HTTP")
    return int(match[1])


def parse_chunk_size(line: bytes) -> int:
    """The size of a chunk of content, before whatever extension.  Raises ScannerError."""
    size = line.partition(b";")[0].strip()
    if not _is_hex(size):
        raise ScannerError("its answer has a chunk without a size")
    return int(size, 16)


async def exchange(
    wire: ScannerWire,
    method: str,
    path: str,
    fields: Iterable[tuple[str, str]] = (),
    content: Content | Octets | None = None,
) -> Response:
    """Ask something.  Raises ScannerError."""
    size = None if content is None else content.size
    if await wire.send(request_head(method, path, fields, size)) and content is not None:
        await wire.send_all(content.blocks())
    for _ in range(MAX_INTERIM):
        status = parse_status(await wire.read_line(MAX_LINE))
        answered = await wire.read_fields(MAX_LINE, MAX_FIELDS)
        if status >= 200:
            return await _read_response(wire, status, answered)
    raise ScannerError("announces an answer again and again")


async def _read_response(wire: ScannerWire, status: int, fields: Mapping[str, str]) -> Response:
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return Response(status, await _read_chunks(wire))
    size = fields.get("content-length")
    if status == 204:
        return Response(status, b"")
    if size is None:
        return Response(status, await wire.read_to_end(MAX_CONTENT), delimited=False)
    if not _is_size(size) or int(size) > MAX_CONTENT:
        raise ScannerError("its answer has no sensible length")
    return Response(status, await wire.read_exactly(int(size)))


async def _read_chunks(wire: ScannerWire) -> bytes:
    parts: list[bytes] = []
    left = MAX_CONTENT
    while size := parse_chunk_size(await wire.read_line(MAX_LINE)):
        left -= size + 1
        if left < 0:
            raise ScannerError("its answer is too long")
        parts.append(await wire.read_exactly(size))
        if await wire.read_line(MAX_LINE):
            raise ScannerError("its answer has a chunk that is longer than its size")
    return b"".join(parts)
