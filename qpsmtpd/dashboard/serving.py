# SPDX-License-Identifier: MIT
"""Serving: where the dashboard listens, and until when.

Whoever can connect can read.  So it is a Unix socket, or a loopback address, and nothing else.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Collection, Sequence
from ipaddress import ip_address

from aiohttp import web

from qpsmtpd.daemon import notify
from qpsmtpd.dashboard.application import Dashboard
from qpsmtpd.dashboard.guard import LOOPBACK_NAMES
from qpsmtpd.errors import QpsmtpdError

#: Seconds for which a connection may do nothing.
_KEEP_ALIVE = 30.0


def check_private(listening: socket.socket) -> None:
    """Raises QpsmtpdError if somebody on another machine could connect."""
    if listening.family != socket.AF_UNIX:
        host = listening.getsockname()[0]
        if not ip_address(host).is_loopback:
            raise QpsmtpdError(
                f"the dashboard does not listen on {host}, where other machines can read it: give "
                "a loopback address or the path of a socket, and have a web server ask for names "
                "and passwords"
            )


async def serve(
    dashboard: Dashboard, sockets: Sequence[socket.socket], hosts: Collection[str]
) -> None:
    """Answer until a signal says that it is enough.

    hosts: names under which we answer on TCP, besides those of the loopback addresses.
    """
    on_tcp = any(each.family != socket.AF_UNIX for each in sockets)
    names = {*LOOPBACK_NAMES, *(host.lower() for host in hosts)} if on_tcp else None
    runner = web.AppRunner(
        dashboard.application(names), access_log=None, keepalive_timeout=_KEEP_ALIVE
    )
    await runner.setup()
    try:
        for each in sockets:
            await web.SockSite(runner, each).start()
        notify.ready("answering")
        await _told_to_stop()
        notify.stopping()
    finally:
        await runner.cleanup()


async def _told_to_stop() -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
