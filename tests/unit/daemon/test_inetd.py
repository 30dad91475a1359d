# SPDX-License-Identifier: MIT
"""One connection on standard input, in a process of its own; more in tests/integration."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.daemon import inetd
from qpsmtpd.daemon.inetd import endpoints
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
