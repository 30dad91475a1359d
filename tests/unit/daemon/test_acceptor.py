# SPDX-License-Identifier: MIT
"""Accepting, resting and the end, on both event loops."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.daemon import acceptor
from qpsmtpd.daemon.acceptor import (
    _KEEP_SOCKET,
    Acceptor,
    _AsyncioAcceptor,
    make_acceptor,
)
from tests.unit.client import on_both_loops, until


class Accepted(asyncio.Protocol):
    """Notes the connections."""

    def __init__(self, transports: list[asyncio.BaseTransport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(transport)


def fail_on(error: OSError) -> None:
    raise error


class Clients:
    """Clients of a listening socket that two acceptors have."""

    def __init__(self) -> None:
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=100)]
        self.sockets.append(self.sockets[0].dup())
        for listening in self.sockets:
            listening.setblocking(False)
        self.accepted: tuple[list[asyncio.BaseTransport], ...] = ([], [])

    def acceptor(self, number: int) -> Acceptor:
        transports = self.accepted[number]
        loop = asyncio.get_running_loop()
        return make_acceptor(loop, self.sockets[number], lambda: Accepted(transports), fail_on)

    def connect(self, count: int) -> None:
        address = self.sockets[-1].getsockname()
        self.sockets[:0] = [socket.create_connection(address) for _ in range(count)]

    async def have_come(self, *counts: int) -> None:
        await until(lambda: tuple(map(len, self.accepted)) == counts)


@pytest.fixture
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    for opened in clients.sockets:
        opened.close()


@on_both_loops
async def test_all_are_accepted(clients: Clients) -> None:
    acceptor = clients.acceptor(0)
    await acceptor.start()
    clients.connect(30)
    await clients.have_come(30, 0)
    await acceptor.close()
    for transport in clients.accepted[0]:
        transport.close()


@on_both_loops
async def test_while_one_rests_the_other_accepts(clients: Clients) -> None:
    """What comes meanwhile waits for whoever accepts."""
    one, two = clients.acceptor(0), clients.acceptor(1)
    await one.start()
    clients.connect(1)
    await clients.have_come(1, 0)
    one.rest()
    one.rest()
    clients.connect(5)
    await two.start()
    await clients.have_come(1, 5)
    two.rest()
    clients.connect(2)
    await one.start()
    await one.start()
    await clients.have_come(3, 5)
    await one.close()
    await two.close()
    for transport in (*clients.accepted[0], *clients.accepted[1]):
        transport.close()


@on_both_loops
async def test_a_rest_loses_nothing(clients: Clients) -> None:
    """Whenever it begins, what was accepted before becomes a connection."""
    one, two = clients.acceptor(0), clients.acceptor(1)
    for turns in range(6):
        await one.start()
        clients.connect(3)
        for _ in range(turns):
            await asyncio.sleep(0)
        one.rest()
    await two.start()
    await until(lambda: sum(map(len, clients.accepted)) == 18)
    await two.close()
    await one.close()
    for transport in (*clients.accepted[0], *clients.accepted[1]):
        assert not transport.is_closing()
        transport.close()


class WithoutDescriptors(socket.socket):
    """A listening socket of a process that has no descriptor left, at first."""

    failures = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, "out of order")
        return super().accept()


async def test_without_descriptors(clients: Clients) -> None:
    """It rests, says so, and goes on when it is started again."""
    poor = WithoutDescriptors(fileno=clients.sockets[0].detach())
    clients.sockets[0] = poor
    transports = clients.accepted[0]
    errors: list[OSError] = []
    loop = asyncio.get_running_loop()
    acceptor = _AsyncioAcceptor(loop, poor, lambda: Accepted(transports), errors.append)
    clients.connect(3)
    for failed in (1, 2):
        await acceptor.start()
        await until(lambda: len(errors) == failed)  # noqa: B023 (called at once)
        assert loop.remove_reader(poor) is False
    await acceptor.start()
    await clients.have_come(3, 0)
    assert [error.errno for error in errors] == [errno.EMFILE, errno.ENFILE]
    await acceptor.close()
    for transport in transports:
        transport.close()


@on_both_loops
@pytest.mark.parametrize("options", [_KEEP_SOCKET, {"cleanup_socket": False}])
async def test_a_unix_socket_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    """systemd has it, or other workers; and nobody need be able to look at it by its path."""
    monkeypatch.setattr(acceptor, "_KEEP_SOCKET", options)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    (tmp_path / "socket").rename(tmp_path / "elsewhere")
    loop = asyncio.get_running_loop()
    accepting = make_acceptor(loop, listening, asyncio.Protocol, fail_on)
    await accepting.start()
    await accepting.close()
    assert (tmp_path / "elsewhere").is_socket()
