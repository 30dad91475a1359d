# SPDX-License-Identifier: MIT
"""Tag lists: `v=1; a=rsa-sha256; ...`, as in DKIM signatures and keys (RFC 6376 section 3.2)."""

from __future__ import annotations

import re

from qpsmtpd.errors import QpsmtpdError

#: No signature and no key has a third of that.
MAX_TAGS = 64

_WHITE_SPACE = " \t\r\n"
_BLANK = f"[{_WHITE_SPACE}]*+"
#: Signatures may have octets beyond ASCII (RFC 8616 section 5).
_SPEC = rf"{_BLANK}[A-Za-z][A-Za-z0-9_]*+{_BLANK}=[^;\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*+"
_is_list = re.compile(rf"{_SPEC}(?:;{_SPEC})*(?:;{_BLANK})?").fullmatch


class TagListError(QpsmtpdError):
    """The text is not a tag list; the message is of fixed words."""


def parse_tags(text: str) -> dict[str, str]:
    """Names and values, in their order; white space around both is gone.

    Raises TagListError, also for a name that occurs twice.
    """
    if text.count(";") > MAX_TAGS:
        raise TagListError("too many tags")
    if not _is_list(text):
        if not text.strip(_WHITE_SPACE):
            return {}
        raise TagListError("not a tag list")
    specs = [spec.partition("=") for spec in text.split(";")]
    if not specs[-1][1]:
        specs.pop()  # what follows the last semicolon
    tags = {name.strip(_WHITE_SPACE): value.strip(_WHITE_SPACE) for name, _, value in specs}
    if len(tags) != len(specs):
        raise TagListError("a tag occurs twice")
    return tags


def without_white_space(value: str) -> str:
    """A value in which folding white space means nothing, such as base64."""
    if value.isascii():
        # A tag list has no other control characters.
        return "".join(value.split())
    for blank in _WHITE_SPACE:
        value = value.replace(blank, "")
    return value


def items(value: str) -> list[str]:
    """The parts of a value that are separated by colons."""
    return [item.strip(_WHITE_SPACE) for item in value.split(":")]
