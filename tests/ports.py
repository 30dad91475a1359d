# SPDX-License-Identifier: MIT
"""Ports of 127.0.0.1: for a server that is told one, and where a client is to find nobody.

The port of a server that has ended is neither: the kernel soon gives it to a test that runs
beside this one.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

#: Below those that the kernel gives to whoever asks for any (ip_local_port_range: 32768 and up).
_OURS = range(20_000, 30_000)
_HOST = "127.0.0.1"
# Tests set the seed of the module's own, each to the same.
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens on, and that only those get who ask for it by its number."""
    with _bound() as (_, _, port):
        return port


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections and datagrams; nobody else gets it meanwhile."""
    with _bound() as (_, udp, port):
        udp.connect((_HOST, 9))  # so that nothing from elsewhere is for it
        yield port


@contextmanager
def _bound() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """A TCP and a UDP socket on the same port, and the port."""
    while True:
        port = _CHANCE.choice(_OURS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((_HOST, port))
                udp.bind((_HOST, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            yield tcp, udp, port
            return
