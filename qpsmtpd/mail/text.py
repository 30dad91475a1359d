# SPDX-License-Identifier: MIT
"""Text from outside, made fit for places that hold ASCII only."""

from __future__ import annotations


def printable_ascii(text: str, length: int | None = None) -> str:
    """The first `length` characters, with a question mark for what is not printable ASCII."""
    text = text[:length]
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if " " <= character <= "~" else "?" for character in text)
