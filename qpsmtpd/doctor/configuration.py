# SPDX-License-Identifier: MIT
"""Configuration: loads it as the daemon's user would, and reports all its problems."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors, Problem
from qpsmtpd.doctor.credentials import awaited
from qpsmtpd.doctor.examination import text_of
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

#: Part of the text of a problem with permissions.
_DENIED = os.strerror(errno.EACCES)

_NONSENSE = "the process that loads the configuration gave an invalid answer"


def check_configuration(installation: Installation) -> Iterator[Finding]:
    """The problems of all files, with file and line."""
    directory = str(installation.directories[0])
    problems = _load(installation)
    for problem in problems:
        yield _finding(installation, problem)
    if not problems:
        yield Finding.ok(directory, f"{len(installation.entries)} plugins, no problems")


def _finding(installation: Installation, problem: Problem) -> Finding:
    subject = problem.where or str(installation.directories[0])
    machine = installation.machine
    if awaits := awaited(machine, subject, installation.environment):
        advice = "The command that says whether it can be used:"
        return Finding.notice(subject, awaits, advice, "qpsmtpd check-config")
    account, uid = installation.account, machine.uid
    if uid != 0 and account is not None and account.uid != uid and _DENIED in problem.text:
        advice = "This may be a problem only for you; run this as root."
        return Finding.notice(subject, problem.text, advice)
    finding = Finding.error if problem.severity == "error" else Finding.warning
    return finding(subject, problem.text)


def _load(installation: Installation) -> Sequence[Problem]:
    account, machine = installation.account, installation.machine
    try:
        found = machine.as_user(account, lambda: [_as_words(p) for p in problems_of(installation)])
        return _problems_in(found)
    except (OSError, ValueError) as failure:
        return [Problem(str(installation.directories[0]), str(failure), "warning")]


def _as_words(problem: Problem) -> list[str]:
    return [problem.where, problem.text, problem.severity]


def _problems_in(words: Any) -> Sequence[Problem]:
    """The problems that were written down; raises ValueError for anything else."""
    match words:
        case [*problems]:
            return list(map(_of_words, problems))
    raise ValueError(_NONSENSE)


def _of_words(words: Any) -> Problem:
    match words:
        case [where, text, severity]:
            kind: Literal["warning", "error"] = "warning" if severity == "warning" else "error"
            return Problem(text_of(where), text_of(text), kind)
    raise ValueError(_NONSENSE)


def problems_of(installation: Installation) -> Sequence[Problem]:
    """Every problem of the configuration, for whoever runs this."""

    async def load_and_stop() -> Sequence[Problem]:
        paths, environment = installation.paths, installation.environment
        snapshot = await load(paths, environment, check_only=True)
        await snapshot.stop()
        return snapshot.warnings

    try:
        return asyncio.run(load_and_stop())
    except ConfigErrors as errors:
        return errors.problems
