# SPDX-License-Identifier: MIT
"""Codes: which answers of a DNS list count, written as for Postfix's postscreen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qpsmtpd.errors import ConfigError

#: What each of the four octets may be.
Codes = tuple[frozenset[int], ...]

_OCTET = r"(\d{1,3}|\[[0-9.;]+\])"
_CODES = re.compile(r"\.".join([_OCTET] * 4))


def read_codes(text: str, where: str) -> Codes:
    """Read 127.0.0.2 or 127.0.[0..3].[2;4..6]: which numbers each octet may be.

    Raises ConfigError.
    """
    match = _CODES.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return tuple(frozenset(_numbers(octet)) for octet in match.groups())
    except ValueError:
        wanted = "127.0.0.2, or with numbers in brackets: 127.0.0.[2;4..6]"
        raise ConfigError(where, f"{text!r} is not {wanted}") from None


def _numbers(octet: str) -> Iterator[int]:
    for part in octet.strip("[]").split(";"):
        first, dots, last = part.partition("..")
        numbers = range(int(first), int(last if dots else first) + 1)
        if not numbers or numbers[-1] > 255:
            raise ValueError
        yield from numbers


def is_among(answer: str, codes: Codes) -> bool:
    """Whether an answer, an IPv4 address, is one of these codes."""
    octets = map(int, answer.split("."))
    return all(octet in numbers for octet, numbers in zip(octets, codes, strict=True))
