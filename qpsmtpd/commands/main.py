# SPDX-License-Identifier: MIT
"""The program `qpsmtpd`: run | inetd | reload | check-config | plugins | karma | dialogue |
doctor | dkim-key | dmarc-report | scram-verifier.

Without a command it is `qpsmtpd inetd` if tcpserver or inetd has started it, as the program of the
Perl version was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from qpsmtpd import __version__
from qpsmtpd.commands.arguments import Command
from qpsmtpd.commands.check_config import add_check_config
from qpsmtpd.commands.dialogue import add_dialogue
from qpsmtpd.commands.dkim_key import add_dkim_key
from qpsmtpd.commands.dmarc_report import add_dmarc_report
from qpsmtpd.commands.doctor import add_doctor
from qpsmtpd.commands.karma import add_karma
from qpsmtpd.commands.plugins import add_plugins
from qpsmtpd.commands.reload import add_reload
from qpsmtpd.commands.run import add_inetd, add_run
from qpsmtpd.commands.scram_verifier import add_scram_verifier
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.terminal import styled


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; the exit status of the process."""
    words = sys.argv[1:] if words is None else words
    arguments = make_parser().parse_args(words or _implied())
    command: Command = arguments.command
    return guarded(lambda: command(arguments))


def _implied() -> Sequence[str]:
    """The command when none is given."""
    from qpsmtpd.daemon.inetd import is_started_with_connection

    return ["inetd"] if is_started_with_connection(os.environ) else []


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what qpsmtpd raises on purpose becomes one line on stderr."""
    try:
        return command()
    except QpsmtpdError as error:
        print(f"qpsmtpd: {styled(sys.stderr, 'red', 'error')}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any further (qpsmtpd plugins | head); the interpreter must not write either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def make_parser() -> argparse.ArgumentParser:
    """The command line of `qpsmtpd`."""
    parser = argparse.ArgumentParser(
        prog="qpsmtpd",
        description="SMTP daemon that decides during the SMTP transaction whether to accept mail.",
        epilog="The configuration is in /etc/qpsmtpd, or where QPSMTPD_CONFIG says. Without a "
        "command, tcpserver and inetd get the command inetd.",
    )
    parser.add_argument("--version", action="version", version=f"qpsmtpd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run(commands)
    add_inetd(commands)
    add_reload(commands)
    add_check_config(commands)
    add_plugins(commands)
    add_karma(commands)
    add_dialogue(commands)
    add_doctor(commands)
    add_dkim_key(commands)
    add_dmarc_report(commands)
    add_scram_verifier(commands)
    return parser
