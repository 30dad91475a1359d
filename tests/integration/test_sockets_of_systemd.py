# SPDX-License-Identifier: MIT
"""Sockets that somebody else holds, from one daemon to the next."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from qpsmtpd.daemon.worker import EXIT_CONFIG
from tests.unit.client import PATIENCE, Client
from tests.unit.daemon_process import configure, running


async def test_they_stay_open(tmp_path: Path) -> None:
    """They stay open when the daemon ends, so that nobody is refused in between."""
    passed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in passed]
    directory = configure(tmp_path)
    for _ in range(2):
        waiting = socket.create_connection(("127.0.0.1", ports[0]))
        async with running(directory, passed=passed, listen=[]) as daemon:
            await daemon.ready()
            early = await (await Client.connect(None, None, sock=waiting)).greeted()
            late = await daemon.client(ports[1])
            await early.close()
            await late.close()
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended() == 0
    for one in passed:
        one.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_who_waits_for_a_daemon_that_cannot_start_is_told_so(
    tmp_path: Path, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        waiting = [socket.create_connection(passed.getsockname()) for _ in range(3)]
        directory = configure(tmp_path, {"plugins": "no_such_plugin"})
        async with running(directory, passed=[passed], listen=[], workers=workers) as daemon:
            assert (await daemon.notified())[0].startswith("STATUS=The configuration is wrong")
            for client in waiting:
                with client:
                    client.settimeout(PATIENCE)
                    text = client.makefile().read()
                    assert text == "421 4.3.0 Internal error, closing connection\n"
            daemon.signal(signal.SIGTERM)  # or a few seconds later it ends by itself
            assert await daemon.ended() in (0, EXIT_CONFIG)


@pytest.mark.parametrize("workers", [1, 2])
async def test_without_clients_it_ends_at_once(tmp_path: Path, workers: int) -> None:
    """So that whoever starts it sees that it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        directory = configure(tmp_path, {"plugins": "no_such_plugin"})
        async with running(directory, passed=[passed], listen=[], workers=workers) as daemon:
            assert await daemon.ended() == EXIT_CONFIG
