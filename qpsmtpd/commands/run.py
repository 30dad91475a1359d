# SPDX-License-Identifier: MIT
"""`qpsmtpd run` and `qpsmtpd inetd`: serve."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import (
    add_command,
    add_config,
    directories_of,
    listen_type,
    number_type,
)
from qpsmtpd.config.runoptions import RunOptions


def add_run(commands: Any) -> None:
    """Add the command `run`."""
    parser = add_command(commands, "run", _run, "Run the daemon in the foreground.")
    add_config(parser)
    parser.add_argument(
        "--listen",
        action="append",
        default=[],
        type=listen_type(),
        metavar="ADDR:PORT",
        help="listen here; :PORT means every address, IPv6 needs brackets; lmtp:ADDR:PORT or "
        "lmtp:/PATH is for LMTP (RFC 2033), smtp:/PATH a Unix socket for SMTP, milter:… for mail "
        "systems that ask us as their milter, policy:… for Postfix' policy delegation; may be "
        "repeated. Sockets passed by systemd come first",
    )
    parser.add_argument(
        "--listen-tls",
        action="append",
        default=[],
        type=listen_type(tls=True),
        metavar="ADDR:PORT",
        help="the same with TLS from the start (port 465)",
    )
    parser.add_argument(
        "--workers",
        type=number_type(0),
        default=0,
        metavar="N",
        help="number of processes (default: one per core)",
    )
    parser.add_argument("--user", metavar="NAME", help="user to run as once all sockets are open")
    parser.add_argument(
        "--pid-file", type=Path, metavar="PATH", help="where to write the process id"
    )
    parser.add_argument("--debug", action="store_true", help="log everything")


def add_inetd(commands: Any) -> None:
    """Add the command `inetd`."""
    text = "Serve one connection on standard input and output (tcpserver, inetd)."
    parser = add_command(commands, "inetd", _inetd, text)
    add_config(parser)
    parser.add_argument("--debug", action="store_true", help="log everything")


def _run(arguments: argparse.Namespace) -> int:
    from qpsmtpd.daemon import start

    return start.run(
        RunOptions(
            config=directories_of(arguments.config),
            listen=(*arguments.listen, *arguments.listen_tls),
            workers=arguments.workers,
            user=arguments.user,
            pid_file=arguments.pid_file,
            debug=arguments.debug,
            environment=dict(os.environ),
        )
    )


def _inetd(arguments: argparse.Namespace) -> int:
    from qpsmtpd.daemon import inetd

    return inetd.run(
        RunOptions(
            config=directories_of(arguments.config),
            workers=1,
            debug=arguments.debug,
            environment=dict(os.environ),
        )
    )
