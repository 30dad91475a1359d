# SPDX-License-Identifier: MIT
"""The programs `qpsmtpd-forkserver` and `qpsmtpd-prefork`: the old command lines.

They translate the options of the Perl version into those of `qpsmtpd run`, and run one worker.  It
serves many connections at once, so it needs no children in reserve.

Options may be spelled in the ways of Perl's Getopt::Long: `-max-from-ip 5`, `--max=5`, `-Port 25`.
Those that no longer have any effect are accepted and mentioned on stderr.  Before `--detach` the
configuration and the addresses are checked, so that mistakes show on the terminal.

Differences from the Perl versions: wrong options are an error (exit status 2); `--no-rdns` works;
limits on connections apply only when they are given.  Root without `--user` becomes `smtpd`, as
before, or `qpsmtpd` if there is no such user.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from qpsmtpd import __version__
from qpsmtpd.commands.arguments import number_type
from qpsmtpd.commands.check_config import check, show
from qpsmtpd.commands.main import guarded
from qpsmtpd.config.problems import errors_in
from qpsmtpd.config.runoptions import ListenAddress, RunOptions, config_directories, parse_listen
from qpsmtpd.daemon.detach import detach
from qpsmtpd.errors import QpsmtpdError

#: Limits of the old programs: connections of one client at a time, for the plugin hosts_allow.
FORKSERVER_FROM_IP = 5
PREFORK_FROM_IP = 10

_USERS = ("smtpd", "qpsmtpd")


def forkserver() -> int:
    """The program `qpsmtpd-forkserver`; the exit status of the process."""
    return guarded(lambda: _run(parse_forkserver(sys.argv[1:])))


def prefork() -> int:
    """The program `qpsmtpd-prefork`; the exit status of the process."""
    return guarded(lambda: _run(parse_prefork(sys.argv[1:])))


def _run(parsed: tuple[RunOptions, bool]) -> int:
    from qpsmtpd.daemon import start

    options, in_background = parsed
    if in_background:
        _check(options)
        detach()
    return start.run(options)


def _check(options: RunOptions) -> None:
    """See whether the daemon can start.  Raises QpsmtpdError."""
    from qpsmtpd.daemon.sockets import bind

    problems = check(options.config, options.environment)
    for problem in problems:
        print(show(problem), file=sys.stderr)
    if errors_in(problems):
        raise QpsmtpdError("the configuration has errors")
    for listener in bind(options.listen):
        listener.socket.close()


# --- command lines --------------------------------------------------------------------------


class _OldParser(argparse.ArgumentParser):
    """One of the old command lines.  Options without a help text no longer have any effect."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=name, description="Run qpsmtpd with the options of the Perl version.")

    def option(self, names: str, text: str = argparse.SUPPRESS, **more: Any) -> None:
        """Add an option; its help text is in the manual page too."""
        self.add_argument(*names.split(), help=text, **more)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Read the command line; wrong options end the program, and other words mean nothing."""
        arguments, surplus = self.parse_known_args(list(self._respelled(words)))
        if wrong := [word for word in surplus if word.startswith("-")]:
            self.error(f"unrecognized arguments: {' '.join(wrong)}")
        for word in surplus:
            print(f"{self.prog}: {word!r} has no effect", file=sys.stderr)
        return arguments

    def _respelled(self, words: Sequence[str]) -> Iterator[str]:
        """The words with each option as argparse knows it."""
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            option = self._option(name) if word.startswith("-") else ""
            action = self._option_string_actions.get(option)
            if action is None:
                yield word
            elif equals:
                yield from (option, value)
            else:
                yield option
                if action.nargs != 0:
                    yield from itertools.islice(rest, 1)

    def _option(self, name: str) -> str:
        """The option that a word stands for; "" if there is none.

        Getopt::Long takes one dash for two, any case, and the beginning of a name.
        """
        if name in self._option_string_actions:
            return name
        bare = name.lstrip("-").lower()
        letter = f"-{bare}"
        if letter in self._option_string_actions:
            return letter
        long = [option for option in self._option_string_actions if option.startswith("--")]
        found = [option for option in long if bare and option[2:].startswith(bare)]
        if f"--{bare}" in found:
            return f"--{bare}"
        if len(found) > 1:
            self.error(f"{name} is ambiguous: {', '.join(found)}")
        return next(iter(found), "")


def forkserver_parser() -> _OldParser:
    """The command line of `qpsmtpd-forkserver`."""
    parser = _OldParser("qpsmtpd-forkserver")
    add, number, count = parser.option, number_type(1), number_type(0)
    addresses = {"action": "append", "default": [], "metavar": "ADDR[:PORT]"}
    add("-l --listen-address", "listen there; may be repeated (default: everywhere)", **addresses)
    text = "port of addresses without one; may be repeated (default: 2525)"
    add("-p --port", text, action="append", type=number, metavar="N")
    text = "connections at a time; like the file max_connections"
    add("-c --limit-connections", text, type=number, metavar="N")
    text = "the user to run as if root starts it (default: smtpd, else qpsmtpd)"
    add("-u --user", text, metavar="NAME")
    text = "connections of one client, for the plugin hosts_allow (default: %(default)s)"
    add("-m --max-from-ip", text, type=count, default=FORKSERVER_FROM_IP, metavar="N")
    add("--pid-file", "where to write the process id", type=Path, metavar="PATH")
    add("-d --detach", "go to the background once all seems well", action="store_true")
    text = "do not look up the names of clients; like the file reverse_lookup"
    add("-H --no-rdns", text, action="store_true")
    return parser


def prefork_parser() -> _OldParser:
    """The command line of `qpsmtpd-prefork`."""
    parser = _OldParser("qpsmtpd-prefork")
    add, number, count = parser.option, number_type(1), number_type(0)
    addresses = {"action": "append", "default": [], "metavar": "ADDR[:PORT]"}
    text = "listen there; may be repeated (default: everywhere)"
    add("--listen-address --interface", text, **addresses)
    text = "port of addresses without one (default: %(default)s)"
    add("--port", text, type=number, default=25, metavar="N")
    add("--user", "the user to run as; must be given", metavar="NAME", required=True)
    text = "connections at a time; like the file max_connections"
    add("--children", text, type=number, metavar="N")
    text = "connections of one client, for the plugin hosts_allow (default: %(default)s)"
    add("--max-from-ip", text, type=count, default=PREFORK_FROM_IP, metavar="N")
    add("--pid-file", "where to write the process id", type=Path, metavar="PATH")
    add("--detach", "go to the background once all seems well", action="store_true")
    add("--debug", "log everything", action="store_true")
    version = f"Qpsmtpd Daemon - version {__version__}"
    add("--version", "show the version", action="version", version=version)
    add("--idle-children", type=count, metavar="N")
    add("--renice-parent", type=count, metavar="N")
    add("--pretty-child", action="store_true", default=None)
    add("--quiet", action="store_true", default=None)
    return parser


def meaningless(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that are accepted, but have no effect."""
    return [action for action in parser._actions if action.help is argparse.SUPPRESS]


def parse_forkserver(words: Sequence[str]) -> tuple[RunOptions, bool]:
    """Translate the command line; the second value says whether to detach."""
    parser = forkserver_parser()
    arguments = parser.parse(words)
    options = RunOptions(
        config=_config(),
        listen=_listen(parser, arguments.listen_address, arguments.port or [2525]),
        workers=1,
        user=arguments.user or _default_user(),
        pid_file=arguments.pid_file,
        max_from_ip=arguments.max_from_ip,
        max_connections=arguments.limit_connections,
        reverse_lookup=False if arguments.no_rdns else None,
        environment=dict(os.environ),
    )
    return options, arguments.detach


def parse_prefork(words: Sequence[str]) -> tuple[RunOptions, bool]:
    """Translate the command line; the second value says whether to detach."""
    parser = prefork_parser()
    arguments = parser.parse(words)
    for option in meaningless(parser):
        if getattr(arguments, option.dest) is not None:
            print(f"{parser.prog}: {option.option_strings[0]} has no effect", file=sys.stderr)
    options = RunOptions(
        config=_config(),
        listen=_listen(parser, arguments.listen_address, [arguments.port]),
        workers=1,
        user=arguments.user,
        pid_file=arguments.pid_file,
        # 0 used to mean as many as there are children.
        max_from_ip=arguments.max_from_ip or arguments.children or 0,
        max_connections=arguments.children,
        debug=arguments.debug,
        environment=dict(os.environ),
    )
    return options, arguments.detach


def _config() -> tuple[Path, ...]:
    return config_directories(None, os.environ, sys.argv[0])


def _listen(
    parser: argparse.ArgumentParser, addresses: Sequence[str], ports: Sequence[int]
) -> tuple[ListenAddress, ...]:
    """Addresses with a port of their own, and every other one with every port."""
    listen: list[ListenAddress] = []
    for text, port in product(addresses or [""], ports):
        try:
            address = _address(text, port)
        except ValueError:
            parser.error(f"{text!r} is not ADDRESS or ADDRESS:PORT, with IPv6 in brackets")
        if address not in listen:
            listen.append(address)
    return tuple(listen)


def _address(text: str, port: int) -> ListenAddress:
    try:
        address = parse_listen(text if ":" in text else f"{text}:{port}")
    except ValueError:
        address = parse_listen(f"{text}:{port}")
    # The socket of [::] took IPv4 as well.
    return ListenAddress("", address.port) if address.host == "::" else address


def _default_user() -> str | None:
    """The user that root becomes; None for everybody else."""
    if os.getuid() != 0:
        return None
    return next(filter(_is_user, _USERS), _USERS[0])


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
