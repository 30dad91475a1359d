# SPDX-License-Identifier: MIT
"""Finding: one thing that was examined, and what is wrong with it, if anything."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Self


class Severity(enum.IntEnum):
    """How bad it is.  A notice is not a fault, but worth knowing."""

    OK = 0
    NOTICE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of `qpsmtpd doctor`; made with `ok`, `notice`, `warning` or `error`.

    subject: what was examined.  text: what was found.
    advice: what to do about it.  commands: how to do it, in a root shell.
    area: its heading in the report; empty means that of the plugin.
    """

    severity: Severity
    subject: str
    text: str
    advice: str = ""
    commands: tuple[str, ...] = ()
    area: str = ""

    @classmethod
    def ok(cls, subject: str, text: str, *, area: str = "") -> Self:
        """All is well."""
        return cls(Severity.OK, subject, text, area=area)

    @classmethod
    def notice(
        cls, subject: str, text: str, advice: str = "", *commands: str, area: str = ""
    ) -> Self:
        """Nothing is wrong, but it may surprise."""
        return cls(Severity.NOTICE, subject, text, advice, commands, area)

    @classmethod
    def warning(
        cls, subject: str, text: str, advice: str = "", *commands: str, area: str = ""
    ) -> Self:
        """Mail goes on, but not as it should."""
        return cls(Severity.WARNING, subject, text, advice, commands, area)

    @classmethod
    def error(
        cls, subject: str, text: str, advice: str = "", *commands: str, area: str = ""
    ) -> Self:
        """Mail does not go on."""
        return cls(Severity.ERROR, subject, text, advice, commands, area)


async def findings_in(generator: object) -> AsyncIterator[Finding]:
    """The findings of a plain or async generator; raises TypeError for anything else."""
    if isinstance(generator, AsyncIterator):
        async for finding in generator:
            yield _checked(finding)
    elif isinstance(generator, Iterator):
        for finding in generator:
            yield _checked(finding)
    else:
        raise TypeError("`examine` is not a generator, which yields findings")


def _checked(finding: object) -> Finding:
    if not isinstance(finding, Finding):
        raise TypeError(f"`examine` yields {finding!r}, which is not a Finding")
    return finding
