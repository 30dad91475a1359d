# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/daemon/sockets.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.daemon import sockets
from qpsmtpd.daemon.server import Listener
from qpsmtpd.daemon.sockets import (
    ListenError,
    bind,
    describe,
    passed_by_systemd,
    turn_away,
    turn_away_for,
)
from tests.unit.client import PATIENCE

LOOPBACK = "127.0.0.1"
#: Descriptors that nothing else in the test uses.
PASSED = 200


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    opened: list[Listener] = []
    yield opened
    for listener in opened:
        listener.socket.close()


def port_of(listener: Listener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


def open_files() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


# --- of our own -------------------------------------------------------------------------------


def test_bind_listens(listeners: list[Listener]) -> None:
    listeners += bind([ListenAddress(LOOPBACK, 0), ListenAddress(LOOPBACK, 0, tls=True)])
    assert [listener.tls for listener in listeners] == [False, True]
    assert not any(listener.socket.getblocking() for listener in listeners)
    with socket.create_connection((LOOPBACK, port_of(listeners[0])), timeout=PATIENCE):
        pass


def test_every_address_is_a_socket_of_each_family(listeners: list[Listener]) -> None:
    listeners += bind([ListenAddress("", 0)])
    families = [listener.socket.family for listener in listeners]
    assert socket.AF_INET in families
    assert len(families) == len(set(families))
    for listener in listeners:
        if listener.socket.family is socket.AF_INET6:
            assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_an_address_in_use_is_named_and_nothing_stays_open(listeners: list[Listener]) -> None:
    listeners += bind([ListenAddress(LOOPBACK, 0)])
    taken = ListenAddress(LOOPBACK, port_of(listeners[0]))
    before = open_files()
    with pytest.raises(ListenError, match=rf"cannot listen on {taken}: .*in use"):
        bind([ListenAddress(LOOPBACK, 0), taken])
    assert open_files() == before


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:0: Cannot assign"):
        bind([ListenAddress("192.0.2.1", 0)])


def test_a_host_that_is_none() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.300:25"):
        bind([ListenAddress("192.0.2.300", 25)])


def test_a_kernel_without_ipv6(listeners: list[Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_ipv6(family: int, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError("Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", no_ipv6)
    listeners += bind([ListenAddress("", 0)])
    assert [listener.socket.family for listener in listeners] == [socket.AF_INET]
    with pytest.raises(ListenError, match="no address family for ::1"):
        bind([ListenAddress("::1", 0)])


@pytest.mark.parametrize(("tls", "text"), [(False, "127.0.0.1:{}"), (True, "127.0.0.1:{} (TLS)")])
def test_describe(listeners: list[Listener], tls: bool, text: str) -> None:
    listeners += bind([ListenAddress(LOOPBACK, 0, tls=tls)])
    assert describe(listeners[0]) == text.format(port_of(listeners[0]))


def test_describe_others(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{tmp_path}/socket")
        assert describe(Listener(unix)) == f"{tmp_path}/socket"


def test_a_unix_socket(listeners: list[Listener], tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listeners += bind([ListenAddress("", 0, kind="lmtp", path=path)])
    assert describe(listeners[0]) == f"{path} (lmtp)"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(ListenError, match="socket: Address already in use"):
        bind([ListenAddress("", 0, path=path)])
    listeners.pop().socket.close()
    # What an earlier process has left is replaced.
    listeners += bind([ListenAddress("", 0, path=path)])
    assert describe(listeners[0]) == path
    assert Path(path).stat().st_mode & 0o777 == 0o666


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ListenError, match="file: Address already in use"):
        bind([ListenAddress("", 0, path=str(tmp_path / "file"))])
    assert (tmp_path / "file").read_text() == "precious"


def test_names_say_what_is_spoken(listeners: list[Listener], passed: list[int]) -> None:
    listeners += passed_by_systemd(environment(names="qpsmtpd-milter:policy"))
    assert [listener.kind for listener in listeners] == ["milter", "policy"]
    assert passed


# --- of systemd -------------------------------------------------------------------------------


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two listening sockets at descriptors in a row, which the test closes; their ports."""
    monkeypatch.setattr(sockets, "FIRST_PASSED", PASSED)
    ports = []
    for number in range(2):
        with socket.create_server((LOOPBACK, 0)) as server:
            os.dup2(server.fileno(), PASSED + number)
            ports.append(server.getsockname()[1])
    return ports


def test_the_name_of_a_passed_socket_says_what_is_spoken(
    listeners: list[Listener], passed: list[int]
) -> None:
    listeners += passed_by_systemd(environment(names="qpsmtpd-lmtp:smtp"))
    assert [listener.kind for listener in listeners] == ["lmtp", "smtp"]
    assert len(passed) == len(listeners)


def environment(count: str = "2", names: str | None = None) -> dict[str, str]:
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "PATH": "/bin"}
    return passed if names is None else {**passed, "LISTEN_FDNAMES": names}


def test_passed_sockets(listeners: list[Listener], passed: list[int]) -> None:
    variables = environment(names="smtp:smtps")
    listeners += passed_by_systemd(variables)
    assert [port_of(listener) for listener in listeners] == passed
    assert [listener.tls for listener in listeners] == [False, True]
    assert variables == {"PATH": "/bin"}
    for listener in listeners:
        assert not listener.socket.getblocking()
        assert not listener.socket.get_inheritable()


@pytest.mark.parametrize(
    ("names", "tls"),
    [
        (None, [False, False]),
        ("", [False, False]),
        ("qpsmtpd-tls", [True, False]),
        ("submission:submissions", [False, True]),
    ],
)
def test_names_say_tls(
    listeners: list[Listener], passed: list[int], names: str | None, tls: list[bool]
) -> None:
    listeners += passed_by_systemd(environment(names=names))
    assert [listener.tls for listener in listeners] == tls


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "two"},
    ],
)
def test_nothing_was_passed_to_us(variables: dict[str, str]) -> None:
    assert passed_by_systemd(variables) == []
    assert variables == {}


# --- clients that nobody serves ---------------------------------------------------------------


def test_turn_away(listeners: list[Listener]) -> None:
    listeners += bind([ListenAddress(LOOPBACK, 0), ListenAddress(LOOPBACK, 0, tls=True)])
    clients = [
        socket.create_connection((LOOPBACK, port_of(listener)), timeout=PATIENCE)
        for listener in (*listeners, listeners[0])
    ]
    # Who has left meanwhile is no obstacle.
    clients[-1].close()
    assert turn_away(listeners) == len(clients)
    assert turn_away(listeners) == 0
    assert clients[0].makefile("rb").read().startswith(b"421 4.3.0 ")
    assert clients[1].makefile("rb").read() == b""
    for client in clients:
        client.close()


def test_turn_away_from_a_closed_socket() -> None:
    (listener,) = bind([ListenAddress(LOOPBACK, 0)])
    listener.socket.close()
    turn_away([listener])


def test_turn_away_for_a_while() -> None:
    """Whoever comes meanwhile hears the same, and then it is over."""
    (listener,) = bind([ListenAddress(LOOPBACK, 0)])
    clients = []

    def now() -> float:
        address = (LOOPBACK, port_of(listener))
        clients.append(socket.create_connection(address, timeout=PATIENCE))
        return 10.0 * len(clients)

    turn_away_for([listener], 35.0, now)
    assert len(clients) == 5  # at 10 s, then up to 45 s
    for client in clients[:4]:
        with client:
            assert client.makefile("rb").read().startswith(b"421 4.3.0 ")
    clients[4].close()
    listener.socket.close()
