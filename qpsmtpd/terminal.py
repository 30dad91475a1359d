# SPDX-License-Identifier: MIT
"""Text for humans on a terminal: colours, where they are wanted, and wrapped paragraphs."""

from __future__ import annotations

import io
import os
import shutil
import textwrap
from collections.abc import Callable
from typing import TextIO

_CODES = {"bold": "1", "red": "1;31", "green": "32", "yellow": "33"}
_WIDTH = 88
#: Lines are not wrapped at less than that.
_LEAST_WIDTH = 40


def styled(stream: TextIO, style: str, text: str) -> str:
    """The text in a style, if the stream is a terminal and nobody said NO_COLOR."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{_CODES[style]}m{text}\033[0m"


def print_anything(stream: TextIO) -> None:
    """Have a stream escape what its encoding lacks (LC_ALL=de_DE.ISO-8859-1)."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def can_show(stream: TextIO, text: str) -> bool:
    """Whether the encoding of a stream has these characters."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def shown(text: str) -> str:
    """Text that strangers have written, for a terminal: what cannot be printed is escaped.

    Neither control sequences nor changes of the direction of writing get through.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def indented(text: str, columns: int) -> str:
    """A paragraph, wrapped and indented."""
    indent = " " * columns
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def fitted(stream: TextIO, line: str) -> str:
    """A line, wrapped between words and indented further where a terminal is too narrow for it.

    Elsewhere, as in a pipe, it stays one line.
    """
    if not stream.isatty():
        return line
    width = max(shutil.get_terminal_size().columns, _LEAST_WIDTH)
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


class PassingLine:
    """A line on a terminal that the next one replaces, until it is cleared; nothing elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._shown = False

    def show(self, text: str) -> None:
        """Show this in place of what is there."""
        if self._stream is not None:
            self._write(f"\r{text}\033[K")
            self._shown = True

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            self._write("\r\033[K")
            self._shown = False

    def _write(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write(text)
        self._stream.flush()


class Percentage:
    """How much of something is done, on a terminal; nothing elsewhere, nor if it takes no time."""

    def __init__(self, stream: TextIO, what: str, now: Callable[[], float]) -> None:
        """now: seconds."""
        self._line = PassingLine(stream)
        self._what = what
        self._now = now
        self._next = now() + 1.0

    def show(self, part: float) -> None:
        """Show that this part is done, at most twice a second."""
        if self._now() >= self._next:
            self._next = self._now() + 0.5
            self._line.show(f"{self._what}: {part:.0%}")

    def clear(self) -> None:
        """Take it away."""
        self._line.clear()
