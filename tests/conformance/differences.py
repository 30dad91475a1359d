# SPDX-License-Identifier: MIT
"""Reads the lists of differences: a section for each deliberate one, with the steps it explains.

differences.md is about the Perl version, postfix.md about Postfix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.dialogue import Noted

HERE = Path(__file__).parent
PERL, POSTFIX = HERE / "differences.md", HERE / "postfix.md"

_heading = re.compile(r"## ([a-z0-9-]+)").fullmatch
_row = re.compile(r"\| `(.*)` \| `(.*)` \| `(.*)` \| `(.*)` \|").fullmatch
_is_head = re.compile(r"\| dialogue \| step \| \w+ \| here \||\|---\|---\|---\|---\|").fullmatch


@dataclass(frozen=True, order=True)
class Difference:
    """One step of a dialogue in which the servers differ.

    dialogue: `case: dialogue`.
    theirs, ours: what they did, in the words of dialogue.py.
    """

    dialogue: str
    step: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"| `{self.dialogue}` | `{self.step}` | `{self.theirs}` | `{self.ours}` |"


def read_differences(text: str) -> dict[Difference, str]:
    """The differences of a list, and the id of the section of each.

    Raises ValueError for a line of a table that is none, or one that is there twice.
    """
    differences: dict[Difference, str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if heading := _heading(line):
            section = heading[1]
        elif line.startswith("|") and not _is_head(line):
            difference = _difference(line, number)
            if not section or difference in differences:
                raise ValueError(f"line {number}: outside a section, or there twice: {line}")
            differences[difference] = section
    return differences


def _difference(line: str, number: int) -> Difference:
    row = _row(line)
    if row is None:
        raise ValueError(f"line {number}: not | `dialogue` | `step` | `theirs` | `here` |: {line}")
    return Difference(*row.groups())


def compared(name: str, theirs: Noted, ours: Noted) -> Iterator[Difference]:
    """The steps in which the results differ; a step that one of them did not reach does not."""
    results = dict(ours)
    for step, outcome in theirs:
        if step in results and results[step] != outcome:
            yield Difference(name, step, outcome, results[step])


def complaints(listed: dict[Difference, str], observed: set[Difference]) -> Iterator[str]:
    """What is wrong between the list and what was observed, one line each."""
    for difference in sorted(observed - listed.keys()):
        yield f"not listed: {difference}"
    for difference in sorted(listed.keys() - observed):
        yield f"listed as {listed[difference]}, but not so: {difference}"
