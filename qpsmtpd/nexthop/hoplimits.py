# SPDX-License-Identifier: MIT
"""LIMITS (RFC 9422): how much a next hop takes at once, as its reply to EHLO says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

KEYWORD = "LIMITS"

#: RFC 9422 section 4: six digits, and no zero at the beginning.
_limit = re.compile(r"(RCPTMAX|MAILMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})", re.IGNORECASE).fullmatch


class HopLimits(NamedTuple):
    """What a next hop takes; 0 means that there is no limit.

    recipients, domains: of one transaction; transactions: of one connection.
    """

    recipients: int = 0
    transactions: int = 0
    domains: int = 0


def read_limits(text: str) -> HopLimits:
    """What follows the keyword.  Words that we do not know, or that are wrong, are left out."""
    found = {match[1].upper(): int(match[2]) for match in map(_limit, text.split()) if match}
    return HopLimits(
        found.get("RCPTMAX", 0), found.get("MAILMAX", 0), found.get("RCPTDOMAINMAX", 0)
    )


def least(limits: Iterable[int]) -> int:
    """The strictest of these limits; 0 if there is none."""
    return min(filter(None, limits), default=0)
