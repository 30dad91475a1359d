# SPDX-License-Identifier: MIT
"""SASLprep (RFC 4013): the one form of a name or password that people may type in several ways.

It is made with Unicode 3.2, as RFC 3454 has it, so that it never changes.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

#: What no name or password may have (RFC 4013 section 2.3).
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)

#: Characters that are looked at; nobody has a longer name or password.
MOST = 1024


def saslprep(text: str) -> str:
    """The prepared form of a name or password.

    Raises ValueError, whose text does not repeat it, if it has a character that is prohibited, runs
    in both directions, is empty then, or has more than MOST characters.  Code points that Unicode
    3.2 does not know are left as they are, as in a query (RFC 3454 section 7).
    """
    if text.isascii() and text.isprintable() and 0 < len(text) <= MOST:
        return text
    if len(text) > MOST:
        raise ValueError("is too long")
    mapped = "".join(map(_mapped, text))
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared:
        raise ValueError("is empty")
    if any(in_table(character) for character in prepared for in_table in _PROHIBITED):
        raise ValueError("has a character that it may not have")
    _check_directions(prepared)
    return prepared


def _mapped(character: str) -> str:
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _check_directions(text: str) -> None:
    """RFC 3454 section 6: text from right to left begins and ends so, and has nothing else."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise ValueError("runs in both directions")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("runs in both directions")
