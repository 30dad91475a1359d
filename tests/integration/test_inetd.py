# SPDX-License-Identifier: MIT
"""One connection on standard input: clients that are gone, and what keeps it from being served."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

from qpsmtpd.daemon.worker import EXIT_CONFIG
from tests.unit.client import Client, catching
from tests.unit.daemon.test_inetd import LOOPS, connected
from tests.unit.daemon_process import configure, running


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
