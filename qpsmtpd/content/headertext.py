# SPDX-License-Identifier: MIT
"""The text of header fields in which links may stand, with encoded words decoded (RFC 2047)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qpsmtpd.content.decoders import TextDecoder
from qpsmtpd.content.parthead import PartHead
from qpsmtpd.mail.headers import Headers

_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]{0,40})?\?([BbQq])\?([^?\s]{0,2000})\?=", re.ASCII)
_BETWEEN_WORDS = re.compile(r"\?=[ \t]{1,99}=\?")

#: Fields of mail systems: hosts in them are not links.
_NOT_FOR_READERS = re.compile(
    r"(?:(?:x-)?received.*|return-path|delivered-to|(?:in-reply|message|content|resent-message).*"
    r"|references|.*signature.*|.*authentication.*|arc-.*|received-spf|autocrypt|x-ms-.*|x-google.*)",
    re.IGNORECASE,
).fullmatch


def readable_text(headers: Headers) -> Iterator[str]:
    """The values of the fields that people see or that mail programs offer as links."""
    for field in headers.fields():
        if not _NOT_FOR_READERS(field.name[:80]):
            yield decoded_words(field.value)


def decoded_words(value: str) -> str:
    """A value with its encoded words decoded; blanks between two of them do not count."""
    if "=?" not in value:
        return value
    return _WORD.sub(_decoded, _BETWEEN_WORDS.sub("?==?", value))


def _decoded(match: re.Match[str]) -> str:
    text = match[3].replace("_", "=20") if match[2] in "Qq" else match[3]
    decoder = TextDecoder(PartHead(charset=match[1].lower(), encoding=match[2].lower()))
    return decoder.feed(text.encode("utf-8", "surrogateescape")) + decoder.end()
