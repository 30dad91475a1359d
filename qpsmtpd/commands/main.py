# SPDX-License-Identifier: MIT
"""The program `qpsmtpd`: run | inetd | reload | check-config | plugins | plugin | karma | log |
status | export-metrics | report | try | explain | dashboard | dialogue | doctor | dkim-key |
dmarc-report | scram-verifier.

Without a command it is `qpsmtpd inetd` if tcpserver or inetd has started it, as the program of the
Perl version was.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from qpsmtpd import __version__
from qpsmtpd.commands.arguments import Command
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.terminal import print_anything, styled

#: The commands, in the order of the help, each with its module; `add_NAME` there adds it.  Nothing
#: is imported for the others: that costs more than most commands do.
_MODULES = {
    "run": "run",
    "inetd": "run",
    "reload": "reload",
    "check-config": "check_config",
    "plugins": "plugins",
    "plugin": "plugin",
    "karma": "karma",
    "log": "log",
    "status": "status",
    "export-metrics": "export_metrics",
    "report": "report",
    "try": "trial",
    "explain": "explain",
    "dashboard": "dashboard",
    "dialogue": "dialogue",
    "doctor": "doctor",
    "dkim-key": "dkim_key",
    "dmarc-report": "dmarc_report",
    "scram-verifier": "scram_verifier",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; the exit status of the process."""
    words = (sys.argv[1:] if words is None else words) or _implied()
    wanted = [name for name in words[:1] if name in _MODULES]
    arguments = make_parser(wanted or tuple(_MODULES)).parse_args(words)
    command: Command = arguments.command
    return guarded(lambda: command(arguments))


def _implied() -> Sequence[str]:
    """The command when none is given."""
    from qpsmtpd.daemon.inetd import is_started_with_connection

    return ["inetd"] if is_started_with_connection(os.environ) else []


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what qpsmtpd raises on purpose becomes one line on stderr."""
    print_anything(sys.stdout)
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


def make_parser(names: Sequence[str] = tuple(_MODULES)) -> argparse.ArgumentParser:
    """The command line of `qpsmtpd`, with these commands."""
    parser = argparse.ArgumentParser(
        prog="qpsmtpd",
        description="SMTP daemon that decides during the SMTP transaction whether to accept mail.",
        epilog="The configuration is in /etc/qpsmtpd, or where QPSMTPD_CONFIG says. Without a "
        "command, tcpserver and inetd get the command inetd.",
    )
    parser.add_argument("--version", action="version", version=f"qpsmtpd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f"qpsmtpd.commands.{_MODULES[name]}")
        getattr(module, f"add_{name.replace('-', '_')}")(commands)
    return parser
