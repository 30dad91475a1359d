# SPDX-License-Identifier: MIT
"""Names as the records of mail authentication have them: ASCII text, whatever somebody wrote."""

from __future__ import annotations

import functools
import re

#: RFC 1035 section 2.3.4, without the octets that only the wire has.
MAX_NAME = 253
MAX_LABEL = 63

_LABEL = f"[^.]{{1,{MAX_LABEL}}}"
_are_labels = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.DOTALL).fullmatch


def is_askable(name: str) -> bool:
    """Whether the DNS can be asked about a name: it is ASCII, and its labels have 1 to 63 octets.

    A name that is not does not exist.  Others would make A-labels of what is not ASCII, which may
    be a part of an address that was never meant as a domain (RFC 8616 section 4).
    """
    return len(name) <= MAX_NAME and _has_labels(name)


# A message asks about the same few names thirty times.
@functools.lru_cache(maxsize=4096)
def _has_labels(name: str) -> bool:
    return name.isascii() and _are_labels(name) is not None


def is_at_or_below(name: str, domain: str) -> bool:
    """Whether a name is a domain or ends in it, label by label and in any case."""
    name, domain = name.lower(), domain.lower()
    return name == domain or name.endswith(f".{domain}")
