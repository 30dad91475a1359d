# SPDX-License-Identifier: MIT
"""Ports of tests."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests import ports
from tests.ports import free_port, refusing_port

TESTS = Path(ports.__file__).parent


def test_it_refuses_and_is_kept() -> None:
    with refusing_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            client.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                client.recv(1)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))


def test_a_server_can_have_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_what_somebody_has_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as taken:
        other = free_port()
        tries = [other, taken, taken]
        monkeypatch.setattr(ports, "_CHANCE", _Foreseen(tries))
        assert free_port() == other
    assert tries == []


def test_nobody_relies_on_the_port_of_a_server_that_has_ended() -> None:
    """Another test may have it by now: its own server hears what is asked, and waits for more."""
    ended = re.compile(r"with \S+\(.*\) as \w+:\n\s+pass\n|\bunused_(?:tcp|udp)_port\b")
    found = [
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if path != Path(__file__) and ended.search(path.read_text())
    ]
    # Its clients are to have come and gone.
    assert found == ["continuity/test_stream.py"]


class _Foreseen:
    """Chooses these, the last one first."""

    def __init__(self, choices: list[int]) -> None:
        self._choices = choices

    def choice(self, _among: object) -> int:
        return self._choices.pop()
