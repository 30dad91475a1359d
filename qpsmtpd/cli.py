# SPDX-License-Identifier: MIT
"""The program `qpsmtpd`: run | inetd | check-config | plugins | dialogue | doctor."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qpsmtpd import __version__
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import load
from qpsmtpd.config.names import todays_name
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import read_plugin_lines
from qpsmtpd.config.problems import ConfigErrors, Problem, errors_in
from qpsmtpd.config.runoptions import ListenAddress, RunOptions, config_directories, parse_listen
from qpsmtpd.config.settings import load_settings
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.manual import chain_table, plugin_manual
from qpsmtpd.terminal import styled

Command = Callable[[argparse.Namespace], int]


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; the exit status of the process."""
    arguments = make_parser().parse_args(words)
    command: Command = arguments.command
    return guarded(lambda: command(arguments))


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
        # Nobody reads on (qpsmtpd plugins | head); the interpreter must not try to write either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


# --- arguments ------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """The command line of `qpsmtpd`."""
    parser = argparse.ArgumentParser(
        prog="qpsmtpd",
        description="SMTP daemon that decides during the SMTP transaction whether to take mail.",
        epilog="The configuration is in /etc/qpsmtpd, or where QPSMTPD_CONFIG says.",
    )
    parser.add_argument("--version", action="version", version=f"qpsmtpd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_inetd(commands)
    _add_check_config(commands)
    _add_plugins(commands)
    _add_dialogue(commands)
    _add_doctor(commands)
    return parser


def _command(commands: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _add_run(commands: Any) -> None:
    parser = _command(commands, "run", _run, "Run the daemon in the foreground.")
    _add_config(parser)
    parser.add_argument(
        "--listen",
        action="append",
        default=[],
        type=listen_type(),
        metavar="ADDR:PORT",
        help="listen here; :PORT is every address, IPv6 needs brackets; may be repeated. "
        "Sockets passed by systemd come first",
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
    parser.add_argument("--user", metavar="NAME", help="whom to become when all sockets are open")
    parser.add_argument(
        "--pid-file", type=Path, metavar="PATH", help="where to write the process id"
    )
    parser.add_argument("--debug", action="store_true", help="log everything")


def _add_inetd(commands: Any) -> None:
    text = "Serve one connection on standard input and output (tcpserver, inetd)."
    parser = _command(commands, "inetd", _inetd, text)
    _add_config(parser)
    parser.add_argument("--debug", action="store_true", help="log everything")


def _add_check_config(commands: Any) -> None:
    text = "Print every problem of a configuration, with file and line."
    parser = _command(commands, "check-config", _check_config, text)
    parser.add_argument("config", nargs="?", type=Path, metavar="DIR", help="its directory")
    parser.epilog = "The exit status is 1 when there are errors, 0 when there are warnings only."


def _add_plugins(commands: Any) -> None:
    text = "Show the chain of plugins with their hooks, or the manual of one plugin."
    parser = _command(commands, "plugins", _plugins, text)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a plugin, shipped or local")
    _add_config(parser)


def _add_dialogue(commands: Any) -> None:
    text = "Run an SMTP dialogue script against a server."
    parser = _command(commands, "dialogue", _dialogue, text)
    parser.add_argument("file", type=Path, metavar="FILE", help="the script")
    parser.add_argument(
        "--to",
        type=listen_type(),
        default=ListenAddress("127.0.0.1", 2525),
        metavar="HOST:PORT",
        help="the server (default: 127.0.0.1:2525)",
    )


def _add_doctor(commands: Any) -> None:
    text = "Look at the whole installation; print what is wrong, and the commands that mend it."
    parser = _command(commands, "doctor", _doctor, text)
    _add_config(parser)
    parser.add_argument(
        "--listen", action="append", default=[], type=listen_type(), metavar="ADDR:PORT",
        help="where qpsmtpd is to listen, if not where its units say; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "The exit status is 0 when all is well, 1 with warnings, 2 with errors."


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="DIR", help="directory of the configuration")


def listen_type(*, tls: bool = False) -> Callable[[str], ListenAddress]:
    """What argparse needs to read an address to listen on."""

    def read(text: str) -> ListenAddress:
        try:
            return parse_listen(text, tls=tls)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {error}") from None

    return read


def number_type(least: int) -> Callable[[str], int]:
    """What argparse needs to read a whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return read


def _directories(config: Path | None) -> tuple[Path, ...]:
    return config_directories(config, os.environ, sys.argv[0])


# --- commands -------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    from qpsmtpd.daemon import workers

    return workers.run(
        RunOptions(
            config=_directories(arguments.config),
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
            config=_directories(arguments.config),
            workers=1,
            debug=arguments.debug,
            environment=dict(os.environ),
        )
    )


def _check_config(arguments: argparse.Namespace) -> int:
    directories = _directories(arguments.config)
    problems = check(directories)
    for problem in problems:
        print(show(problem))
    errors = len(errors_in(problems))
    print(f"{directories[0]}: {errors} errors, {len(problems) - errors} warnings")
    return 1 if errors else 0


def check(directories: Sequence[Path]) -> Sequence[Problem]:
    """Every problem of a configuration."""

    async def load_and_stop() -> Sequence[Problem]:
        snapshot = await load(directories, os.environ, check_only=True)
        await snapshot.stop()
        return snapshot.warnings

    try:
        with _silence():
            return asyncio.run(load_and_stop())
    except ConfigErrors as error:
        return error.problems


def show(problem: Problem) -> str:
    """A problem as compilers print it."""
    colour = "red" if problem.severity == "error" else "yellow"
    severity = styled(sys.stdout, colour, problem.severity)
    return f"{problem.where}: {severity}: {problem.text}"


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing: what matters is printed."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _plugins(arguments: argparse.Namespace) -> int:
    files = ConfigFiles(_directories(arguments.config))
    settings, _ = load_settings(files)
    finder = PluginFinder(settings.plugin_dirs)
    if arguments.name:
        name, _ = todays_name(arguments.name)
        print("\n".join(plugin_manual(finder.find(name))))
        return 0
    lines = read_plugin_lines(files, finder)
    print("\n".join(chain_table(lines.all)))
    for problem in lines.problems:
        print(show(problem), file=sys.stderr)
    return 1 if errors_in(lines.problems) else 0


def _dialogue(arguments: argparse.Namespace) -> int:
    from qpsmtpd import dialogue

    target: ListenAddress = arguments.to
    try:
        asyncio.run(dialogue.run_file(arguments.file, target.host or "127.0.0.1", target.port))
    except OSError as error:
        raise QpsmtpdError(f"{arguments.file} to {target}: {error.strerror or error}") from error
    print(f"{arguments.file}: {styled(sys.stdout, 'green', 'passed')}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from qpsmtpd.doctor import examine

    directories, listen = _directories(arguments.config), tuple(arguments.listen)
    with _silence():
        return examine.run(directories, listen, as_json=arguments.json)
