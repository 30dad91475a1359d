# SPDX-License-Identifier: MIT
"""`qpsmtpd check-config`: every problem of a configuration."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command, directories_of, silence
from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors, Problem, errors_in
from qpsmtpd.doctor.credentials import credentials_of_service
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.terminal import styled


def add_check_config(commands: Any) -> None:
    """Add the command `check-config`."""
    text = "Print every problem of a configuration, with file and line."
    parser = add_command(commands, "check-config", _check_config, text)
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="DIR", help="configuration directory"
    )
    parser.epilog = "The exit status is 1 when there are errors, 0 when there are only warnings."


def _check_config(arguments: argparse.Namespace) -> int:
    directories = directories_of(arguments.config)
    with credentials_of_service(Machine()) as credentials:
        problems = [credentials.explain(p) for p in check(directories, credentials.environment)]
    for problem in problems:
        print(show(problem))
    errors = len(errors_in(problems))
    warnings = len(problems) - errors
    counts = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    print(f"{directories[0]}: {counts}")
    return 1 if errors else 0


def check(
    directories: Sequence[Path], environment: Mapping[str, str] = os.environ
) -> Sequence[Problem]:
    """Every problem of a configuration."""
    try:
        with silence():
            return asyncio.run(_warnings(directories, environment))
    except ConfigErrors as error:
        return error.problems


async def _warnings(
    directories: Sequence[Path], environment: Mapping[str, str]
) -> Sequence[Problem]:
    snapshot = await load(directories, environment, check_only=True)
    await snapshot.stop()
    return snapshot.warnings


def show(problem: Problem) -> str:
    """A problem as compilers print it."""
    colour = "red" if problem.severity == "error" else "yellow"
    severity = styled(sys.stdout, colour, problem.severity)
    return f"{problem.where}: {severity}: {problem.text}"
