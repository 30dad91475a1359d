# SPDX-License-Identifier: MIT
"""Report: what the doctor found, for people, for programs, and as an exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from qpsmtpd import __version__
from qpsmtpd.plugin.finding import Finding, Severity
from qpsmtpd.terminal import indented, styled

#: The findings of each area, by its title.
Findings = Mapping[str, Sequence[Finding]]

_STYLES = {
    Severity.OK: "green",
    Severity.NOTICE: "bold",
    Severity.WARNING: "yellow",
    Severity.ERROR: "red",
}
_INDENT = 10


def exit_status(findings: Findings) -> int:
    """0 if there is nothing to do, 1 with warnings, 2 with errors."""
    worst = max((found.severity for area in findings.values() for found in area), default=0)
    return max(0, worst - Severity.NOTICE)


def errors_in(findings: Findings) -> dict[str, list[Finding]]:
    """The errors alone."""
    return {
        area: [finding for finding in found if finding.severity is Severity.ERROR]
        for area, found in findings.items()
    }


def text_report(stream: TextIO, findings: Findings) -> Iterator[str]:
    """The lines of the report for people."""
    for area, found in findings.items():
        if found:
            yield styled(stream, "bold", area)
            for finding in found:
                yield from _paragraphs(stream, finding)
            yield ""
    yield summary(findings)


def _paragraphs(stream: TextIO, finding: Finding) -> Iterator[str]:
    word = finding.severity.name.lower()
    first, *rest = indented(f"{finding.subject}: {finding.text}", _INDENT).split("\n")
    mark = styled(stream, _STYLES[finding.severity], word)
    yield f"  {mark}{' ' * (_INDENT - 2 - len(word))}{first.lstrip()}"
    yield from rest
    if finding.advice:
        yield indented(finding.advice, _INDENT)
    for command in finding.commands:
        yield f"{' ' * (_INDENT + 2)}{command}"


def summary(findings: Findings) -> str:
    """How many errors and warnings there are."""
    all_of_them = [found.severity for area in findings.values() for found in area]
    errors, warnings = all_of_them.count(Severity.ERROR), all_of_them.count(Severity.WARNING)
    return f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def json_report(findings: Findings) -> str:
    """The report for programs: one object."""
    items = [_item(area, finding) for area, found in findings.items() for finding in found]
    report = {"version": __version__, "status": exit_status(findings), "findings": items}
    return json.dumps(report, indent=2, ensure_ascii=False)


def _item(area: str, finding: Finding) -> Mapping[str, object]:
    return {
        "area": area,
        "severity": finding.severity.name.lower(),
        "subject": finding.subject,
        "text": finding.text,
        "advice": finding.advice,
        "commands": list(finding.commands),
    }
