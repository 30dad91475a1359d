# SPDX-License-Identifier: MIT
"""Reads differences.md: one section for each deliberate difference, with the steps it explains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("differences.md")

_heading = re.compile(r"## ([a-z0-9-]+)").fullmatch
_row = re.compile(r"\| `(.*)` \| `(.*)` \| `(.*)` \| `(.*)` \|").fullmatch
_other_rows = ("| dialogue | step | Perl | here |", "|---|---|---|---|")


@dataclass(frozen=True, order=True)
class Difference:
    """One step of a dialogue in which the servers differ.

    dialogue: `case: dialogue`.
    perl, ours: what they did, in the words of dialogue.py.
    """

    dialogue: str
    step: str
    perl: str
    ours: str

    def __str__(self) -> str:
        return f"| `{self.dialogue}` | `{self.step}` | `{self.perl}` | `{self.ours}` |"


def read_differences(text: str) -> dict[Difference, str]:
    """The differences of a file like differences.md, and the id of the section of each.

    Raises ValueError for a line of a table that is none, or one that is there twice.
    """
    differences: dict[Difference, str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := _heading(line):
            section = heading[1]
        elif line.startswith("|") and line not in _other_rows:
            difference = _difference(line, number)
            if not section or difference in differences:
                raise ValueError(f"line {number}: outside a section, or there twice: {line}")
            differences[difference] = section
    return differences


def _difference(line: str, number: int) -> Difference:
    row = _row(line)
    if row is None:
        raise ValueError(f"line {number}: not | `dialogue` | `step` | `perl` | `here` |: {line}")
    return Difference(*row.groups())


def complaints(listed: dict[Difference, str], observed: set[Difference]) -> Iterator[str]:
    """What is wrong between the list and what was observed, one line each."""
    for difference in sorted(observed - listed.keys()):
        yield f"not listed: {difference}"
    for difference in sorted(listed.keys() - observed):
        yield f"listed as {listed[difference]}, but not so: {difference}"
