# SPDX-License-Identifier: MIT
"""Problems: what is wrong with a configuration, all of it at once, with file and line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from qpsmtpd.errors import ConfigError, QpsmtpdError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `where` is "FILE:LINE" (or a file), `text` says what would be right.

    A configuration with errors is not used; one with warnings is.
    """

    where: str
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        text = self.text if self.severity == "error" else f"warning: {self.text}"
        return f"{self.where}: {text}" if self.where else text

    @classmethod
    def of(cls, error: ConfigError) -> Self:
        """The error as a problem."""
        return cls(error.where, error.problem)


class ConfigErrors(QpsmtpdError):  # noqa: N818 (several at once)
    """The configuration cannot be used; `problems` has all the reasons, and the warnings."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def errors_in(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that are not just warnings."""
    return [problem for problem in problems if problem.severity == "error"]
