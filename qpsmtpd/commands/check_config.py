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
from qpsmtpd.config.runoptions import FRONTS, Kind
from qpsmtpd.doctor.credentials import credentials_of_service
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import front_addresses
from qpsmtpd.terminal import styled


def add_check_config(commands: Any) -> None:
    """Add the command `check-config`."""
    text = "Print every problem of a configuration, with file and line."
    parser = add_command(commands, "check-config", _check_config, text)
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="DIR", help="configuration directory"
    )
    parser.add_argument(
        "--front",
        action="append",
        default=[],
        choices=FRONTS,
        help="say what of it does not work there; by default, in those that the units of systemd "
        "open; may be repeated",
    )
    parser.epilog = "The exit status is 1 when there are errors, 0 when there are only warnings."


def _check_config(arguments: argparse.Namespace) -> int:
    directories = directories_of(arguments.config)
    machine = Machine()
    fronts = arguments.front or [address.kind for address in front_addresses(machine)]
    with credentials_of_service(machine) as credentials:
        found = check(directories, credentials.environment, fronts)
        problems = [credentials.explain(problem) for problem in found]
    for problem in problems:
        print(show(problem))
    errors = len(errors_in(problems))
    warnings = len(problems) - errors
    counts = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    print(f"{directories[0]}: {counts}")
    return 1 if errors else 0


def check(
    directories: Sequence[Path],
    environment: Mapping[str, str] = os.environ,
    fronts: Sequence[Kind] = (),
) -> Sequence[Problem]:
    """Every problem of a configuration, also in these fronts."""
    try:
        with silence():
            return asyncio.run(_warnings(directories, environment, fronts))
    except ConfigErrors as error:
        return error.problems


async def _warnings(
    directories: Sequence[Path], environment: Mapping[str, str], fronts: Sequence[Kind]
) -> Sequence[Problem]:
    snapshot = await load(directories, environment, check_only=True, fronts=fronts)
    await snapshot.stop()
    return snapshot.warnings


def show(problem: Problem) -> str:
    """A problem as compilers print it."""
    colour = "red" if problem.severity == "error" else "yellow"
    severity = styled(sys.stdout, colour, problem.severity)
    return f"{problem.where}: {severity}: {problem.text}"
