# SPDX-License-Identifier: MIT
"""The programs `qpsmtpd-forkserver` and `qpsmtpd-prefork`: the old command lines.

They translate the options of the Perl version into those of `qpsmtpd run`, and run one worker.  It
serves many connections at once, so there are no children to keep in stock.

What has no meaning any more is accepted and mentioned on stderr.  Before `--detach` the
configuration and the addresses are checked, so that what is wrong is seen on the terminal.

Differences from the Perl versions: wrong options are an error (exit status 2); `--no-rdns` works;
limits of connections hold only when they are given.  Root without `--user` becomes `smtpd`, as
before, or `qpsmtpd` when there is no such user.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

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

    problems = check(options.config)
    for problem in problems:
        print(show(problem), file=sys.stderr)
    if errors_in(problems):
        raise QpsmtpdError("the configuration is wrong")
    for listener in bind(options.listen):
        listener.socket.close()


# --- command lines --------------------------------------------------------------------------


def parse_forkserver(words: Sequence[str]) -> tuple[RunOptions, bool]:
    """Translate the command line; and whether to detach."""
    parser = argparse.ArgumentParser(
        prog="qpsmtpd-forkserver", description="Run qpsmtpd with the options of old."
    )
    add = parser.add_argument
    add("-l", "--listen-address", action="append", default=[], metavar="ADDR[:PORT]")
    add("-p", "--port", action="append", type=number_type(1), metavar="N", help="default: 2525")
    add("-c", "--limit-connections", type=number_type(1), metavar="N", help="at a time")
    add("-u", "--user", metavar="NAME")
    add("-m", "--max-from-ip", type=number_type(0), default=FORKSERVER_FROM_IP, metavar="N")
    add("--pid-file", type=Path, metavar="PATH")
    add("-d", "--detach", action="store_true", help="go to the background")
    add("-H", "--no-rdns", action="store_true", help="do not look up names of clients")
    arguments = parser.parse_args(words)
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
    """Translate the command line; and whether to detach."""
    parser = argparse.ArgumentParser(
        prog="qpsmtpd-prefork", description="Run qpsmtpd with the options of old."
    )
    add = parser.add_argument
    add("--listen-address", "--interface", action="append", default=[], metavar="ADDR[:PORT]")
    add("--port", type=number_type(1), default=25, metavar="N", help="default: 25")
    add("--user", metavar="NAME", required=True)
    add("--children", type=number_type(1), metavar="N", help="connections at a time")
    add("--max-from-ip", type=number_type(0), default=PREFORK_FROM_IP, metavar="N")
    add("--pid-file", type=Path, metavar="PATH")
    add("--detach", action="store_true", help="go to the background")
    add("--debug", action="store_true", help="log everything")
    add("--version", action="version", version=f"Qpsmtpd Daemon - version {__version__}")
    meaningless = [
        add("--idle-children", type=number_type(0), metavar="N", help=argparse.SUPPRESS),
        add("--renice-parent", type=number_type(0), metavar="N", help=argparse.SUPPRESS),
        add("--pretty-child", action="store_true", default=None, help=argparse.SUPPRESS),
        add("--quiet", action="store_true", default=None, help=argparse.SUPPRESS),
    ]
    arguments = parser.parse_args(words)
    for option in meaningless:
        if getattr(arguments, option.dest) is not None:
            print(f"{parser.prog}: {option.option_strings[0]} has no meaning", file=sys.stderr)
    options = RunOptions(
        config=_config(),
        listen=_listen(parser, arguments.listen_address, [arguments.port]),
        workers=1,
        user=arguments.user,
        pid_file=arguments.pid_file,
        # 0 meant as many as there are children.
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
    """Whom root becomes; everybody else stays who they are."""
    if os.getuid() != 0:
        return None
    return next(filter(_is_user, _USERS), _USERS[0])


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
