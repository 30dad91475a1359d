# SPDX-License-Identifier: MIT
"""What a server handed over, made comparable: the mail in a Maildir, or sent to a next hop."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.dialogue import Noted, printable_text

_ENVELOPE = (b"return-path:", b"delivered-to:")
# Each of the two adds these on top; they differ by time and version in any case.
_is_trace = re.compile(rb"(received|authentication-results):.*\bmx\.example\b", re.I | re.S).match


def in_maildir(mail: Path) -> Noted:
    """Take the messages out of the Maildirs in and below a directory."""
    texts = []
    for path in sorted(mail.glob("**/new/*")):
        texts.append((str(path.parent.parent.relative_to(mail)), path.read_bytes()))
        path.unlink()
    noted = [("messages delivered", str(len(texts)))]
    for number, (folder, text) in enumerate(sorted(texts, key=_comparable), 1):
        noted += [(f"message {number}: {part}", value) for part, value in _parts(folder, text)]
    return noted


def _comparable(item: tuple[str, bytes]) -> list[tuple[str, str]]:
    return _parts(*item)


def _parts(folder: str, text: bytes) -> list[tuple[str, str]]:
    header, _, body = text.partition(b"\n\n")
    fields = re.split(rb"\n(?![ \t])", header)
    envelope = [field for field in fields if field.lower().startswith(_ENVELOPE)]
    own = [field for field in fields if field not in envelope and not _is_trace(field)]
    return [
        ("folder", folder),
        # The Perl version has the fields Delivered-To in reverse order, which says nothing.
        ("envelope", printable_text(b", ".join(sorted(envelope, reverse=True)))),
        ("header", printable_text(b"\n".join(own))),
        ("body", printable_text(body)),
    ]
