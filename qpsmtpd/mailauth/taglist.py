# SPDX-License-Identifier: MIT
"""Tag lists: `v=1; a=rsa-sha256; ...`, as in DKIM signatures and keys (RFC 6376 section 3.2)."""

from __future__ import annotations

import re

from qpsmtpd.errors import QpsmtpdError

#: No signature and no key has a third of that.
MAX_TAGS = 64

_WHITE_SPACE = " \t\r\n"
_is_name = re.compile(r"[A-Za-z][A-Za-z0-9_]*").fullmatch
#: Signatures may have octets beyond ASCII (RFC 8616 section 5).
_is_value = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*").fullmatch


class TagListError(QpsmtpdError):
    """The text is not a tag list; the message is of fixed words."""


def parse_tags(text: str) -> dict[str, str]:
    """Names and values, in their order; white space around both is gone.

    Raises TagListError, also for a name that occurs twice.
    """
    specs = text.split(";", MAX_TAGS)
    if len(specs) > MAX_TAGS:
        raise TagListError("too many tags")
    if not specs[-1].strip(_WHITE_SPACE):
        specs.pop()
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip(_WHITE_SPACE)
        if not equals or not _is_name(name) or not _is_value(value):
            raise TagListError("not a tag list")
        if name in tags:
            raise TagListError("a tag occurs twice")
        tags[name] = value.strip(_WHITE_SPACE)
    return tags


def without_white_space(value: str) -> str:
    """A value in which folding white space means nothing, such as base64."""
    for blank in _WHITE_SPACE:
        value = value.replace(blank, "")
    return value


def items(value: str) -> list[str]:
    """The parts of a value that are separated by colons."""
    return [item.strip(_WHITE_SPACE) for item in value.split(":")]
