# SPDX-License-Identifier: MIT
"""`qpsmtpd dialogue`: play a scripted SMTP session against a server."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command, listen_type
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.dialogue.player import run_file
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.terminal import styled


def add_dialogue(commands: Any) -> None:
    """Add the command `dialogue`."""
    text = "Run an SMTP dialogue script against a server."
    parser = add_command(commands, "dialogue", _dialogue, text)
    parser.add_argument("file", type=Path, metavar="FILE", help="the script")
    parser.add_argument(
        "--to",
        type=listen_type(),
        default=ListenAddress("127.0.0.1", 2525),
        metavar="HOST:PORT",
        help="the server (default: 127.0.0.1:2525)",
    )


def _dialogue(arguments: argparse.Namespace) -> int:
    target: ListenAddress = arguments.to
    try:
        asyncio.run(run_file(arguments.file, target.host or "127.0.0.1", target.port))
    except OSError as error:
        raise QpsmtpdError(f"{arguments.file} to {target}: {error.strerror or error}") from error
    print(f"{arguments.file}: {styled(sys.stdout, 'green', 'passed')}")
    return 0
