# SPDX-License-Identifier: MIT
"""`qpsmtpd doctor`: examine the whole installation."""

from __future__ import annotations

import argparse
from typing import Any

from qpsmtpd.commands.arguments import add_command, add_config, directories_of, listen_type, silence


def add_doctor(commands: Any) -> None:
    """Add the command `doctor`."""
    text = "Examine the whole installation; print what is wrong, and the commands that fix it."
    parser = add_command(commands, "doctor", _doctor, text)
    add_config(parser)
    parser.add_argument(
        "--listen", action="append", default=[], type=listen_type(), metavar="ADDR:PORT",
        help="where qpsmtpd is to listen, if not where its units say; may be repeated",
    )  # fmt: skip
    parser.add_argument("--errors", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "The exit status is 0 when all is well, 1 with warnings, 2 with errors."


def _doctor(arguments: argparse.Namespace) -> int:
    from qpsmtpd.doctor import examine

    directories, listen = directories_of(arguments.config), tuple(arguments.listen)
    with silence():
        return examine.run(
            directories, listen, as_json=arguments.json, errors_only=arguments.errors
        )
