# SPDX-License-Identifier: MIT
"""Examination: what a plugin found, as values here and as words between processes.

The process that examines a plugin runs its code as the daemon's user, and may tell us anything.  So
what comes from it is checked: the words must be of the expected types, and texts lose everything
that a terminal would obey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from qpsmtpd.plugin.finding import Finding, Severity

#: The heading for whatever belongs under none of the others.
OTHERS = "Plugins"

#: The headings under which plugins may report.
AREAS = ("User and files", "Mail systems", "Next hops", "Store", "Certificates", "DNS", OTHERS)


@dataclass(frozen=True, slots=True)
class Examination:
    """What one plugin of the chain found; every finding has its area.

    name: the name on its line.  hooks: the hooks that it has.
    """

    name: str
    hooks: tuple[str, ...]
    findings: tuple[Finding, ...]

    def words(self) -> list[Any]:
        """The examination in a form that JSON can hold."""
        return [list(self.hooks), [_words_of(finding) for finding in self.findings]]

    @classmethod
    def of(cls, name: str, words: Any) -> Self:
        """The examination that `words` made this of; raises ValueError for anything else."""
        match words:
            case [[*hooks], [*findings]]:
                return cls(name, tuple(map(text_of, hooks)), tuple(map(_finding_of, findings)))
        raise ValueError("not an examination")


def text_of(value: Any) -> str:
    """A text that may be printed; raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in value)


def _words_of(finding: Finding) -> list[Any]:
    severity = int(finding.severity)
    commands = list(finding.commands)
    return [severity, finding.subject, finding.text, finding.advice, commands, finding.area]


def _finding_of(words: Any) -> Finding:
    match words:
        case [int(severity), subject, text, advice, [*commands], area] if area in AREAS:
            return Finding(
                Severity(severity),
                text_of(subject),
                text_of(text),
                text_of(advice),
                tuple(map(text_of, commands)),
                area,
            )
    raise ValueError("not a finding")
