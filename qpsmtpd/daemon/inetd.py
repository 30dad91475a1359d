# SPDX-License-Identifier: MIT
"""One connection on standard input and output, accepted by tcpserver or inetd.

tcpserver (TCPREMOTEIP is set) passes the addresses in the environment; under inetd they are those
of the socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import sys
from collections.abc import Mapping
from socket import AF_INET, AF_INET6

from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.config.runoptions import RunOptions
from qpsmtpd.daemon.server import Server
from qpsmtpd.daemon.worker import EXIT_CONFIG, load_snapshot, report_errors, run_loop, use_logging
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.logs.handler import install
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.mail.ip import Endpoint, parse_ip
from qpsmtpd.smtp.replies import INTERNAL_ERROR

log = logging.getLogger(__name__)


def is_started_with_connection(environment: Mapping[str, str]) -> bool:
    """Whether tcpserver or inetd has started this process for a client."""
    connected = _connection()
    if connected is None:
        return False
    with connected:
        return "TCPREMOTEIP" in environment or connected.family in (AF_INET, AF_INET6)


def run(options: RunOptions) -> int:
    """Serve the connection on descriptor 0; the exit status of the process."""
    _keep_output_from_client()
    install(LogLevel.LOGDEBUG if options.debug else LogLevel.LOGWARN)
    return run_loop(lambda: _serve(options))


def _keep_output_from_client() -> None:
    """The client would read log lines, and what plugins print, as replies.

    inetd connects standard output and standard error to the client, tcpserver the former.
    """
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return
    if os.path.sameopenfile(0, 2):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    if os.path.sameopenfile(0, 1):
        os.dup2(2, 1)


async def _serve(options: RunOptions) -> int:
    connected = _connection()
    if connected is None:
        sys.stderr.write("qpsmtpd inetd: standard input is not a connection\n")
        return 2
    try:
        client, local = endpoints(options.environment)
        snapshot = await load_snapshot(options)
    except QpsmtpdError as error:
        if isinstance(error, ConfigErrors):
            await report_errors(error, options)
        else:
            log.critical("%s", error)
        # The client is connected already, and its mail has to wait until this is fixed.
        connected.sendall(INTERNAL_ERROR.octets)
        return EXIT_CONFIG
    use_logging(snapshot, options)
    connected.setblocking(False)
    server = Server(snapshot, asyncio.get_running_loop())
    await server.serve_one(connected, client, local)
    await server.drain(0)
    return 0


def _connection() -> socket.socket | None:
    try:
        connected = socket.socket(fileno=os.dup(0))
    except OSError:
        return None
    return connected if connected.type == socket.SOCK_STREAM else None


def endpoints(environment: Mapping[str, str]) -> tuple[Endpoint | None, Endpoint | None]:
    """The addresses of client and server that tcpserver passes; None if it does not."""
    return (
        _endpoint(environment, "TCPREMOTEIP", "TCPREMOTEPORT"),
        _endpoint(environment, "TCPLOCALIP", "TCPLOCALPORT"),
    )


def _endpoint(environment: Mapping[str, str], ip: str, port: str) -> Endpoint | None:
    text = environment.get(ip, "")
    if not text:
        return None
    try:
        return Endpoint(str(parse_ip(text)), int(environment.get(port) or 0))
    except ValueError as error:
        raise QpsmtpdError(f"{ip}={text!r}: {error}") from error
