# SPDX-License-Identifier: MIT
"""Finding: one thing that was looked at, and what is the matter with it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.IntEnum):
    """How bad it is.  A notice is no fault, but should be known."""

    OK = 0
    NOTICE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One result.

    subject: what was looked at.  text: what is found.
    advice: what to do about it.  commands: how, exactly, for a shell of root.
    """

    severity: Severity
    subject: str
    text: str
    advice: str = ""
    commands: tuple[str, ...] = ()


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Severity.OK, subject, text)


def notice(subject: str, text: str, advice: str = "", *commands: str) -> Finding:
    """Nothing is wrong, but it may surprise."""
    return Finding(Severity.NOTICE, subject, text, advice, commands)


def warning(subject: str, text: str, advice: str = "", *commands: str) -> Finding:
    """Mail goes on, but not as it should."""
    return Finding(Severity.WARNING, subject, text, advice, commands)


def error(subject: str, text: str, advice: str = "", *commands: str) -> Finding:
    """Mail does not go on."""
    return Finding(Severity.ERROR, subject, text, advice, commands)
