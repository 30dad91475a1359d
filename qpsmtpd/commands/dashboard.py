# SPDX-License-Identifier: MIT
"""`qpsmtpd dashboard`: pages for a browser, to be read only."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command, add_config, directories_of
from qpsmtpd.commands.asdaemon import become_daemon
from qpsmtpd.commands.daemonfigures import add_figures, figures_of
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.commands.listening import place_type, sockets_at
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.daemon.sockets import passed_by_systemd
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.logs.handler import install
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.metrics.reading import read
from qpsmtpd.metrics.status import Status, status_of
from qpsmtpd.plugin.options import Seconds
from qpsmtpd.plugin.services import Clock

_DEFAULT = "127.0.0.1:8425"
#: Seconds to wait for the store: nobody's mail waits meanwhile.
_STORE_TIMEOUT = 10.0


def add_dashboard(commands: Any) -> None:
    """Add the command `dashboard`."""
    text = (
        "Show what happens, decisions and plugins in a browser; nothing can be changed there. It "
        "asks for no password: whoever reaches it may read all of it."
    )
    parser = add_command(commands, "dashboard", _dashboard, text)
    parser.add_argument(
        "--listen", type=place_type, metavar="ADDR:PORT|PATH", default=place_type(_DEFAULT),
        help=f"ADDR:PORT of a loopback address (by default {_DEFAULT}), or the path of a socket "
        "that its owner and group may use. Sockets passed by systemd come first",
    )  # fmt: skip
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="a name under which a web server in front of it, or a browser, asks for it on an "
        "address; may be repeated",
    )  # fmt: skip
    add_figures(parser)
    add_config(parser)
    parser.epilog = (
        "For other machines, use qpsmtpd-dashboard.socket, which a web server on this one can "
        "connect to, or ssh -L: see README.Debian. Needs aiohttp, and for charts svgwrite "
        "(python3-aiohttp and python3-svgwrite). Root's command runs as the daemon's user."
    )


def _dashboard(arguments: argparse.Namespace) -> int:
    try:
        from qpsmtpd.dashboard.serving import check_private
    except ImportError as error:
        raise QpsmtpdError(
            f"the dashboard needs {error.name} (on Debian: apt install python3-{error.name})"
        ) from None
    sockets = [each.socket for each in passed_by_systemd(os.environ)]
    if not sockets:
        sockets = sockets_at([arguments.listen])
        at = f"http://{arguments.listen}/" if isinstance(arguments.listen, ListenAddress) else ""
        print(f"{at or arguments.listen} (to end it: Ctrl-C)", flush=True)
    with ExitStack() as opened:
        for each in sockets:
            check_private(opened.enter_context(each))
        return _serve(arguments, sockets)


def _serve(arguments: argparse.Namespace, sockets: list[socket.socket]) -> int:
    from qpsmtpd.dashboard.application import Dashboard
    from qpsmtpd.dashboard.archive import Archive
    from qpsmtpd.dashboard.pages import Pages
    from qpsmtpd.dashboard.serving import serve
    from qpsmtpd.dashboard.site import Site
    from qpsmtpd.dashboard.views import Views

    install(LogLevel.LOGWARN)
    directories = directories_of(arguments.config)
    store = DaemonStore.of(ConfigFiles(directories))
    settings = replace(store.settings, store_timeout=Seconds(_STORE_TIMEOUT))
    store = store._replace(settings=settings)
    become_daemon(Machine(), store.file)
    archive = Archive(partial(store.opened, read_only=True))
    read_status = partial(_read_status, figures_of(arguments))
    views = Views(archive, read_status, Site.of(settings, directories), Clock())
    try:
        asyncio.run(serve(Dashboard(views, Pages(settings.me)), sockets, arguments.host))
    finally:
        archive.close()
    return 0


def _read_status(file: Path) -> Status:
    return status_of(read(file))
