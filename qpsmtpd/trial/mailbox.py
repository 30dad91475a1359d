# SPDX-License-Identifier: MIT
"""Messages in files: one in each, an mbox, a Maildir, a directory of files; compressed or not.

They are read one after the other, so that a mailbox may be larger than memory.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple, cast

from qpsmtpd.errors import QpsmtpdError

#: A message may not be larger, nor a line of it.
MOST = 128 << 20
STDIN = Path("-")
_GZIP = b"\x1f\x8b"


class Found(NamedTuple):
    """A message; `problem` says why it could not be read."""

    name: str
    message: bytes
    problem: str = ""


def messages_in(path: Path) -> Iterator[Found]:
    """All messages of a file or directory, or of standard input (`-`).

    Raises QpsmtpdError if it cannot be read.
    """
    try:
        if path == STDIN:
            yield from _messages("standard input", sys.stdin.buffer)
        elif is_directory(path):
            for file in _files(path):
                yield from _of_file(file)
        else:
            with path.open("rb") as stream:
                yield from _messages(str(path), stream)
    except (OSError, EOFError, zlib.error) as error:
        raise QpsmtpdError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def count_of(path: Path) -> int:
    """How many there are, for the progress; 0 if that is not known before they are read."""
    return sum(1 for _ in _files(path)) if is_directory(path) else 0


def is_directory(path: Path) -> bool:
    """Whether it is one, and not if we may not look: reading it will say so."""
    try:
        return path != STDIN and path.is_dir()
    except OSError:
        return False


def _files(path: Path) -> Iterator[Path]:
    """Those of a Maildir, or of a directory and all below it."""
    parts = [path / name for name in ("cur", "new") if (path / name).is_dir()] or [path]
    for part in parts:
        yield from sorted(file for file in part.rglob("*") if file.is_file())


def _of_file(file: Path) -> Iterator[Found]:
    """What is in a file of a directory: one that cannot be read does not stop the others."""
    try:
        with file.open("rb") as stream:
            yield from _messages(str(file), stream)
    except (OSError, EOFError, zlib.error) as error:
        yield Found(str(file), b"", getattr(error, "strerror", None) or str(error))


def _messages(name: str, source: IO[bytes]) -> Iterator[Found]:
    buffered = cast("BufferedReader", source)
    packed = buffered.peek(2).startswith(_GZIP)
    stream = cast("IO[bytes]", gzip.GzipFile(fileobj=source)) if packed else source
    first = stream.readline(MOST)
    if first.startswith(b"From "):
        yield from _of_mbox(name, stream)
        return
    message = first + stream.read(MOST)
    problem = f"larger than {MOST >> 20} MB" if len(message) >= MOST else ""
    yield Found(name, b"" if problem else message, problem)


def _of_mbox(name: str, stream: IO[bytes]) -> Iterator[Found]:
    """The messages of an mbox, whose first line has been read.

    A line `From ` begins a new one if it follows an empty line (RFC 4155); `>From ` was quoted.
    """
    number, lines, size, after_empty = 1, list[bytes](), 0, False
    while line := stream.readline(MOST):
        if after_empty and line.startswith(b"From "):
            yield _found(name, number, lines, size)
            number, lines, size, after_empty = number + 1, [], 0, False
            continue
        after_empty = line in (b"\n", b"\r\n")
        size += len(line)
        if size < MOST:
            lines.append(_unquoted(line))
    yield _found(name, number, lines, size)


def _unquoted(line: bytes) -> bytes:
    return line[1:] if line.lstrip(b">").startswith(b"From ") and line.startswith(b">") else line


def _found(file: str, number: int, lines: list[bytes], size: int) -> Found:
    name = f"{file}:{number}"
    if size >= MOST:
        return Found(name, b"", f"larger than {MOST >> 20} MB")
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    return Found(name, b"".join(lines))
