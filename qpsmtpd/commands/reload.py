# SPDX-License-Identifier: MIT
"""`qpsmtpd reload`: what systemd runs for `systemctl reload`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from qpsmtpd.commands.arguments import add_command, number_type


def add_reload(commands: Any) -> None:
    """Add the command `reload`."""
    text = (
        "Have the daemon read its configuration again, and wait until it has done so. For the "
        "service unit (ExecReload=); use systemctl reload qpsmtpd."
    )
    parser = add_command(commands, "reload", _reload, text)
    parser.add_argument("pid", type=number_type(2), metavar="PID", help="process id of the daemon")
    parser.epilog = "The exit status is 1 when the daemon keeps the old configuration."


def _reload(arguments: argparse.Namespace) -> int:
    from qpsmtpd.daemon import reloads

    if reloads.ask(arguments.pid, os.environ):
        return 0
    print("the old configuration stays in use; qpsmtpd check-config says why", file=sys.stderr)
    return 1
