# SPDX-License-Identifier: MIT
"""`qpsmtpd status`: how the daemon is doing."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command
from qpsmtpd.commands.daemonfigures import add_figures, figures_of
from qpsmtpd.metrics.checks import CHECKS, EXIT_STATUS, NAMES, checked, verdict
from qpsmtpd.metrics.memory import FiguresError
from qpsmtpd.metrics.reading import NotRunningError, read
from qpsmtpd.metrics.status import status_of
from qpsmtpd.metrics.statustext import View, page
from qpsmtpd.terminal import fitted

#: The exit status if the daemon does not run, as LSB has it for `status`.
NOT_RUNNING = 3
_INTERVAL = 2.0
_LEAST_INTERVAL = 0.1

#: Of the terminal (ECMA-48, and xterm): another screen and back, no cursor and one again; the upper
#: left corner; what is right of the cursor, and what is below it.
_ENTER, _LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_PAGE = "\033[H", "\033[K", "\033[J"

_EPILOG = (
    "The daemon writes its figures into memory that this command reads, so asking costs it "
    "nothing, and works while it is busy. root and members of the group qpsmtpd may read them. "
    "They are of all workers since the daemon was started; reloads and workers that die leave them "
    "as they are. The exit status is 3 if the daemon does not run. With --check it is 0 if all is "
    "well, 1 for a warning, 2 if something is critical or the daemon does not run, and 3 if nobody "
    "can tell. The checks, and their thresholds if they have some: "
)


def add_status(commands: Any) -> None:
    """Add the command `status`."""
    text = "Show how the daemon is doing: connections, messages, plugins, and the services it uses."
    parser = add_command(commands, "status", _status, text)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=_INTERVAL,
        metavar="SECONDS",
        help=f"show it again and again, every {_INTERVAL:g} seconds",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object, for other programs")
    form.add_argument(
        "--check", action="store_true", help="one line for Nagios, Icinga and the like"
    )
    for name in ("warning", "critical"):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            type=_threshold,
            metavar="CHECK=NUMBER",
            help=f"from where on --check reports {name}; may be repeated",
        )
    add_figures(parser)
    parser.epilog = _EPILOG + " ".join(_described())


def _described() -> Iterator[str]:
    for check in CHECKS:
        thresholds = [
            f"{name} {value:g}"
            for name, value in (("warning", check.warning), ("critical", check.critical))
            if value is not None
        ]
        told = f" ({', '.join(thresholds)})" if thresholds else ""
        yield f"{check.name}: {check.help.rstrip('.')}{told}."


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not _LEAST_INTERVAL <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not between {_LEAST_INTERVAL:g} and 86400")
    return seconds


def _threshold(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(NAMES)}")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {name}=NUMBER") from None


def _status(arguments: argparse.Namespace) -> int:
    path = figures_of(arguments)
    if arguments.check:
        return _check(path, dict(arguments.warning), dict(arguments.critical))
    if arguments.watch is not None:
        return _watch(path, arguments.watch, as_json=arguments.json)
    try:
        _show(path, as_json=arguments.json)
    except NotRunningError as error:
        print(f"qpsmtpd: {error}", file=sys.stderr)
        return NOT_RUNNING
    return 0


def _show(path: Path, *, as_json: bool) -> None:
    status = status_of(read(path))
    if as_json:
        print(json.dumps(status.to_json()), flush=True)
    else:
        lines = (fitted(sys.stdout, line) for line in page(status, _view()))
        print(*lines, sep="\n", flush=True)


def _view(*, cut: bool = False) -> View:
    return View(sys.stdout, shutil.get_terminal_size().columns, cut)


# --- monitoring -----------------------------------------------------------------------------


def _check(path: Path, warning: dict[str, float], critical: dict[str, float]) -> int:
    try:
        found = list(checked(status_of(read(path)), warning, critical))
    except NotRunningError as error:
        print(f"QPSMTPD CRITICAL - {error}")
        return EXIT_STATUS["CRITICAL"]
    except FiguresError as error:
        print(f"QPSMTPD UNKNOWN - {error}")
        return EXIT_STATUS["UNKNOWN"]
    state, line = verdict(found)
    print(line)
    return EXIT_STATUS[state]


# --- again and again ------------------------------------------------------------------------


def _watch(path: Path, seconds: float, *, as_json: bool) -> int:
    """Until somebody interrupts it, which is how it is meant to end."""
    try:
        if as_json or not sys.stdout.isatty():
            _repeat(path, seconds, as_json=as_json)
        else:
            with _other_screen():
                _redraw(path, seconds)
    except KeyboardInterrupt:
        return 0
    return 0


def _repeat(path: Path, seconds: float, *, as_json: bool) -> None:
    while True:
        try:
            _show(path, as_json=as_json)
        except NotRunningError as error:
            print(f"qpsmtpd: {error}", file=sys.stderr, flush=True)
        time.sleep(seconds)
        if not as_json:
            print()


@contextmanager
def _other_screen() -> Iterator[None]:
    """What was on the terminal comes back at the end."""
    print(_ENTER, end="", flush=True)
    try:
        yield
    finally:
        print(_LEAVE, end="", flush=True)


def _redraw(path: Path, seconds: float) -> None:
    while True:
        lines = _lines(path)[: max(1, shutil.get_terminal_size().lines - 1)]
        text = "".join(f"{line}{_REST_OF_LINE}\n" for line in lines)
        # In one write, or it would flicker.
        print(f"{_HOME}{text}{_REST_OF_PAGE}", end="", flush=True)
        time.sleep(seconds)


def _lines(path: Path) -> list[str]:
    try:
        return list(page(status_of(read(path)), _view(cut=True)))
    except NotRunningError as error:
        return [str(error)]
