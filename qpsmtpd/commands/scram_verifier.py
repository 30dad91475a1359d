# SPDX-License-Identifier: MIT
"""`qpsmtpd scram-verifier`: a line of the file flat_auth_pw that does not show the password."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from qpsmtpd.commands.arguments import add_command, number_type
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.logins.verifier import (
    LEAST_ITERATIONS,
    MOST_ITERATIONS,
    USUAL_ITERATIONS,
    make_verifier,
)


def add_scram_verifier(commands: Any) -> None:
    """Add the command `scram-verifier`."""
    text = (
        "Ask for a password, and print the line for the file flat_auth_pw with which the plugin "
        "auth/auth_flat_file lets this user in, by PLAIN, LOGIN or SCRAM-SHA-256."
    )
    parser = add_command(commands, "scram-verifier", _scram_verifier, text)
    parser.add_argument(
        "user", type=_user, metavar="USER@DOMAIN", help="the name that the user logs in with"
    )
    parser.add_argument(
        "--iterations", type=_iterations, default=USUAL_ITERATIONS, metavar="NUMBER",
        help="how much work it is to try a password, for the user's programs and this machine as "
        f"for a thief of the file: {LEAST_ITERATIONS} to {MOST_ITERATIONS} "
        f"(default: {USUAL_ITERATIONS})",
    )  # fmt: skip
    parser.epilog = (
        "Without a terminal the password is the first line of standard input. No file is changed; "
        "the daemon reads flat_auth_pw again when it is reloaded."
    )


def _user(text: str) -> str:
    name, _, domain = text.rpartition("@")
    if not name or not domain or ":" in text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form user@example.org")
    return text


def _iterations(text: str) -> int:
    iterations = number_type(LEAST_ITERATIONS)(text)
    if iterations > MOST_ITERATIONS:
        problem = f"{text!r} is too big: the maximum is {MOST_ITERATIONS}"
        raise argparse.ArgumentTypeError(problem)
    return iterations


def _scram_verifier(arguments: argparse.Namespace) -> int:
    try:
        verifier = make_verifier(_password(), iterations=arguments.iterations)
    except ValueError as error:
        raise QpsmtpdError(f"nobody can have this password: it {error}") from None
    print(f"{arguments.user}:{verifier}")
    return 0


def _password() -> str:
    """The password.  Raises QpsmtpdError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise QpsmtpdError("these were two different passwords")
    return password
