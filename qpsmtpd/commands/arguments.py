# SPDX-License-Identifier: MIT
"""What the command lines of several commands share."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from qpsmtpd.config.runoptions import ListenAddress, config_directories, parse_listen

#: Of the number in an age.
_MOST_DIGITS = 8
#: Days that have a name, by how long ago they began.
_DAYS = {"today": 0, "yesterday": 1}

Command = Callable[[argparse.Namespace], int]


def add_command(commands: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    """Add a command; `commands` is what argparse calls subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the configuration."""
    parser.add_argument("--config", type=Path, metavar="DIR", help="configuration directory")


def listen_type(*, tls: bool = False) -> Callable[[str], ListenAddress]:
    """An argparse type: an address to listen on."""

    def read(text: str) -> ListenAddress:
        try:
            return parse_listen(text, tls=tls)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {error}") from None

    return read


def number_type(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number, at least `least`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is too small: the minimum is {least}")
        return int(text)

    return read


def time_type(text: str) -> float:
    """An argparse type: a date, a date and a time of day, or an age; seconds since the epoch.

    `today` and `yesterday` are dates as well.
    """
    if text in _DAYS:
        day = datetime.now().astimezone().date() - timedelta(days=_DAYS[text])
        return datetime.combine(day, datetime.min.time()).astimezone().timestamp()
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    number, unit = text[:-1], text[-1:]
    if unit in units and number.isascii() and number.isdigit() and len(number) < _MOST_DIGITS:
        return time.time() - int(number) * units[unit]
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date (2026-11-29, 2026-11-29 12:00, today, yesterday) nor an "
            "age (90m, 2h, 3d)"
        ) from None


def directories_of(config: Path | None) -> tuple[Path, ...]:
    """The directories of the configuration, best first."""
    return config_directories(config, os.environ, sys.argv[0])


@contextmanager
def silence() -> Iterator[None]:
    """Log nothing: what matters is printed."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
