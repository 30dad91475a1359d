# SPDX-License-Identifier: MIT
"""Where the running daemon keeps its figures, for commands that show them."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE, Unit
from qpsmtpd.metrics.memory import FILE_NAME, path_in

#: What the unit that we ship names (RuntimeDirectory=).
_DIRECTORY = "qpsmtpd/metrics"


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file."""
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="FILE",
        help="the file of the daemon, if it is not in RUNTIME_DIRECTORY or that of the unit",
    )


def figures_of(arguments: argparse.Namespace) -> Path:
    """The file that the command line names, or that of the daemon of this machine."""
    given: Path | None = arguments.figures
    return given or figures_of_daemon(Machine())


def figures_of_daemon(machine: Machine) -> Path:
    """The file of the daemon of this machine; it need not exist."""
    if (path := path_in(machine.environment)) is not None:
        return path
    directory = Unit(machine, SERVICE).value("RuntimeDirectory", _DIRECTORY).partition(" ")[0]
    return Path("/run") / directory / FILE_NAME
