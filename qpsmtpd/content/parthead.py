# SPDX-License-Identifier: MIT
"""PartHead: what the header section of a MIME part says about its body (RFC 2045, RFC 2183)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from qpsmtpd.mail.headers import Headers

#: How much of a field is read.
_LONGEST = 2000
#: Twice what RFC 2046 section 5.1.1 allows.
MAX_BOUNDARY = 140

_TYPE = re.compile(r"[\w.+-]{1,80}/[\w.+-]{1,80}", re.ASCII)
_PARAMETER = re.compile(
    r';\s*([^\s=;"]{1,80})\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^\s;"]+))', re.DOTALL
)
_QUOTED = re.compile(r"\\(.)", re.DOTALL)

#: What browsers open from a mail program, whatever type it is said to have.
_PAGES = (".htm", ".html", ".shtml", ".xht", ".xhtml", ".svg", ".mht", ".eml")
_TEXT_TYPES = frozenset({"application/xhtml+xml", "application/xml", "image/svg+xml"})
_ENCODED = frozenset({"base64", "quoted-printable"})


@dataclass(frozen=True, slots=True)
class PartHead:
    """The type of a part, and how its body is written.

    kind: such as text/html. boundary: what separates its parts, if it has some. charset and
    encoding (Content-Transfer-Encoding): in lower case, "" if not given. name: that of a file.
    """

    kind: str = "text/plain"
    boundary: bytes = b""
    charset: str = ""
    encoding: str = ""
    name: str = ""

    @property
    def is_message(self) -> bool:
        """Whether the body is another message; one that is encoded is read as text."""
        known = self.kind in ("message/rfc822", "message/global")
        return known and self.encoding not in _ENCODED

    @property
    def is_text(self) -> bool:
        """Whether the body has links that people can follow with a click."""
        return (
            self.kind.startswith(("text/", "message/", "multipart/"))
            or self.kind in _TEXT_TYPES
            or self.name.endswith(_PAGES)
        )


def read_part_head(headers: Headers) -> PartHead:
    """What a header section says; what makes no sense in it counts as not said."""
    kind, parameters = parse_content_type(headers.get("Content-Type") or "")
    _, disposition = parse_content_type(headers.get("Content-Disposition") or "")
    boundary = parameters.get("boundary", "").rstrip()
    usable = kind.startswith("multipart/") and len(boundary) <= MAX_BOUNDARY
    name = disposition.get("filename") or parameters.get("name", "")
    return PartHead(
        kind or "text/plain",
        boundary.encode("utf-8", "surrogateescape") if usable else b"",
        parameters.get("charset", "").lower(),
        (headers.get("Content-Transfer-Encoding") or "")[:40].strip().lower(),
        name.lower().rstrip(". "),
    )


def parse_content_type(value: str) -> tuple[str, dict[str, str]]:
    """The type of a Content-Type or Content-Disposition field, and its parameters.

    The type is in lower case, and "" if it is not one. Parameters in pieces and those with a
    charset (RFC 2231) are put together.
    """
    value = value[:_LONGEST]
    kind = _TYPE.match(value)
    parameters: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(value):
        base, _, section = name.lower().partition("*")
        text = _QUOTED.sub(r"\1", quoted) if quoted else token
        if name.endswith("*"):
            text = _without_charset(text, section)
        parameters[base] = parameters.get(base, "") + text if section else text
    return kind[0].lower() if kind else "", parameters


def _without_charset(text: str, section: str) -> str:
    """An extended value, of which the first piece begins with a charset and a language."""
    first = section in ("", "0*")
    return unquote(text.split("'", 2)[-1] if first else text, errors="surrogateescape")
