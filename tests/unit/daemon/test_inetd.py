# SPDX-License-Identifier: MIT
"""One connection on standard input, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.daemon import inetd
from qpsmtpd.daemon.inetd import endpoints
from qpsmtpd.daemon.worker import EXIT_CONFIG
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.ip import Endpoint
from tests.unit.client import Client, catching
from tests.unit.daemon_process import Daemon, configure, running

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.mark.parametrize(
    ("environment", "client", "local"),
    [
        ({}, None, None),
        ({"TCPREMOTEIP": ""}, None, None),
        ({"TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "99"}, Endpoint("192.0.2.7", 99), None),
        ({"TCPREMOTEIP": "::ffff:192.0.2.7"}, Endpoint("192.0.2.7"), None),
        ({"TCPLOCALIP": "2001:DB8::1", "TCPLOCALPORT": "25"}, None, Endpoint("2001:db8::1", 25)),
    ],
)
def test_what_tcpserver_tells(
    environment: dict[str, str], client: Endpoint | None, local: Endpoint | None
) -> None:
    assert endpoints(environment) == (client, local)


@pytest.mark.parametrize(
    "environment",
    [{"TCPREMOTEIP": "localhost"}, {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "smtp"}],
)
def test_nonsense_of_the_environment(environment: dict[str, str]) -> None:
    with pytest.raises(QpsmtpdError, match=r"^TCPREMOTEIP="):
        endpoints(environment)


@pytest.mark.parametrize(
    ("family", "environment", "started"),
    [
        (None, {}, False),
        (None, {"TCPREMOTEIP": "192.0.2.1"}, False),
        (socket.AF_INET, {}, True),
        (socket.AF_INET6, {}, True),
        (socket.AF_UNIX, {}, False),
        (socket.AF_UNIX, {"TCPREMOTEIP": "192.0.2.1"}, True),
    ],
)
def test_who_has_started_us(
    monkeypatch: pytest.MonkeyPatch,
    family: int | None,
    environment: dict[str, str],
    started: bool,
) -> None:
    given = socket.socket(family) if family is not None else None
    monkeypatch.setattr(inetd, "_connection", lambda: given)
    assert inetd.is_started_with_connection(environment) is started
    assert given is None or given.fileno() == -1


@asynccontextmanager
async def connected(
    directory: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[Daemon, socket.socket]]:
    """The daemon at one end of a TCP connection, and the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with theirs:
        async with running(directory, stdin=theirs, inetd=True, environment=environment) as daemon:
            theirs.close()
            yield daemon, ours


@pytest.mark.parametrize("server", ["inetd", "tcpserver"])
def test_what_is_printed_is_not_for_the_client(server: str) -> None:
    code = (
        "import sys; from qpsmtpd.daemon.inetd import _keep_output_from_client as keep; keep()\n"
        "print('printed', flush=True); print('logged', file=sys.stderr)"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = theirs.fileno()
        log = client if server == "inetd" else subprocess.PIPE
        result = subprocess.run(
            [sys.executable, "-c", code], stdin=client, stdout=client, stderr=log, check=True
        )
        theirs.close()
        assert ours.recv(100) == b""
        assert result.stderr == (None if server == "inetd" else b"printed\nlogged\n")


@LOOPS
async def test_a_session(tmp_path: Path, loop: str) -> None:
    text = (
        "from qpsmtpd.api import *\n"
        "class Who(Plugin[NoOptions]):\n"
        "    async def hook_quit(self, session): return accept(f'{session.client}')\n"
    )
    (tmp_path / "who.py").write_text(text)
    directory = configure(tmp_path, catching(tmp_path, "who"))
    environment = {"QPSMTPD_EVENT_LOOP": loop, "TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "9"}
    async with connected(directory, environment) as (daemon, ours):
        client = await (await Client.connect(None, None, sock=ours)).to_data()
        assert await client.deliver() == "250 2.0.0 Caught"
        assert await client.command("QUIT") == "221 2.0.0 192.0.2.7:9"
        assert await client.closed()
        await client.close()
        assert await daemon.ended() == 0
        assert "Traceback" not in daemon.log


async def test_the_client_goes(tmp_path: Path) -> None:
    async with connected(configure(tmp_path)) as (daemon, ours):
        client = await (await Client.connect(None, None, sock=ours)).to_data()
        await client.close()
        assert await daemon.ended() == 0


@LOOPS
async def test_a_client_that_was_gone_has_no_address(tmp_path: Path, loop: str) -> None:
    """It must not pass for the local host, which may relay."""
    directory = configure(tmp_path, catching(tmp_path))
    async with connected(directory, {"QPSMTPD_EVENT_LOOP": loop}) as (daemon, ours):
        ours.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.test>\r\nDATA\r\na:b\r\n.\r\n")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
        assert await daemon.ended() == 0
        assert "connected ip=" not in daemon.log
        assert "message" not in daemon.log


async def test_a_wrong_configuration_is_temporary(tmp_path: Path) -> None:
    directory = configure(tmp_path, {"timeout": "soon"})
    async with connected(directory) as (daemon, ours):
        client = await Client.connect(None, None, sock=ours)
        assert await client.reply() == "421 4.3.0 Internal error, closing connection"
        assert await client.closed()
        await client.close()
        assert await daemon.ended() == EXIT_CONFIG
        assert f"{directory}/timeout:1: " in daemon.log


async def test_no_connection(tmp_path: Path) -> None:
    with Path(os.devnull).open("rb") as nothing:
        async with running(configure(tmp_path), stdin=nothing, inetd=True) as daemon:
            assert await daemon.ended() == 2
            assert "standard input is not a connection" in daemon.log


async def test_a_refused_address_of_tcpserver(tmp_path: Path) -> None:
    async with connected(configure(tmp_path), {"TCPREMOTEIP": "nonsense"}) as (daemon, ours):
        ours.setblocking(False)
        reply = await asyncio.get_running_loop().sock_recv(ours, 100)
        assert reply.startswith(b"421 4.3.0 ")
        assert await daemon.ended() != 0
        assert "TCPREMOTEIP='nonsense'" in daemon.log
        ours.close()
