# SPDX-License-Identifier: MIT
"""Sockets: where listening sockets come from – systemd, or our own bind."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

from qpsmtpd.config.runoptions import FRONTS, ListenAddress, kind_named
from qpsmtpd.daemon.acceptor import BACKLOG
from qpsmtpd.daemon.server import Listener
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.smtp.replies import INTERNAL_ERROR

#: The first descriptor that systemd passes (sd_listen_fds(3)).
FIRST_PASSED = 3

#: A passed socket whose name (FileDescriptorName=) contains one of these is for implicit TLS.
_TLS_NAMES = ("smtps", "submissions", "tls")

#: Permissions of a Unix socket: who may connect is up to the directory, as with other daemons.
_FOR_ALL = 0o666


class ListenError(QpsmtpdError):
    """An address cannot be listened on."""


def passed_by_systemd(environment: MutableMapping[str, str]) -> list[Listener]:
    """The listening sockets that systemd passed to this process; empty when it passed none.

    The variables are removed, so that no child takes them for its own.
    """
    count = _passed_count(environment)
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(variable, None)
    listeners = []
    for number in range(count):
        name = names[number] if number < len(names) else ""
        passed = socket.socket(fileno=FIRST_PASSED + number)
        passed.setblocking(False)
        os.set_inheritable(passed.fileno(), False)
        tls = any(word in name for word in _TLS_NAMES)
        listeners.append(Listener(passed, tls, kind_named(name)))
    return listeners


def _passed_count(environment: Mapping[str, str]) -> int:
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return 0
    count = environment.get("LISTEN_FDS", "")
    return int(count) if count.isdigit() else 0


def bind(addresses: Sequence[ListenAddress]) -> list[Listener]:
    """Bind and listen.  Raises a ListenError that names the address."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            bound = [_bind_path(address.path)] if address.path else _bind_address(address)
            listeners.extend(Listener(s, address.tls, address.kind) for s in bound)
    except OSError as error:
        for listener in listeners:
            listener.socket.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
    return listeners


def _bind_path(path: str) -> socket.socket:
    """A Unix socket, in place of one that nobody listens on any more.  Others may connect to it."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        listening.setblocking(False)
        listening.bind(path)
        Path(path).chmod(_FOR_ALL)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_dead(path: str) -> None:
    if not Path(path).is_socket():
        return  # nothing is there, or bind() says what is
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _bind_address(address: ListenAddress) -> list[socket.socket]:
    """One socket for each address of the host; "every address" takes two sockets."""
    found = socket.getaddrinfo(
        address.host or None,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    bound: list[socket.socket] = []
    for family, kind, protocol, _, name in dict.fromkeys(found):
        try:
            listening = socket.socket(family, kind, protocol)
        except OSError:
            # A kernel without IPv6 still resolves to IPv6 addresses.
            continue
        try:
            _listen(listening, name)
        except OSError:
            for opened in (listening, *bound):
                opened.close()
            raise
        bound.append(listening)
    if not bound:
        raise OSError(f"no address family for {address.host}")
    return bound


def _listen(listening: socket.socket, name: tuple[object, ...]) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.setblocking(False)
    listening.bind(name)
    listening.listen(BACKLOG)


def turn_away(listeners: Sequence[Listener]) -> int:
    """Tell the clients that have connected already to come back later; how many there were.

    Nobody would serve them: as long as systemd holds the socket, they would wait for minutes.
    Those on a socket for TLS are only let go, as they expect no plain text.
    """
    count = 0
    for listener in listeners:
        for _ in range(BACKLOG):
            try:
                client, _ = listener.socket.accept()
            except OSError:
                break
            count += 1
            with client, suppress(OSError):
                if listener.kind not in FRONTS and not listener.tls:
                    client.send(INTERNAL_ERROR.octets, socket.MSG_DONTWAIT)
    return count


def turn_away_for(
    listeners: Sequence[Listener], seconds: float, now: Callable[[], float] = time.monotonic
) -> None:
    """Do so for a while, as they come."""
    sockets = [listener.socket for listener in listeners]
    end = now() + seconds
    while (left := end - now()) > 0:
        select.select(sockets, (), (), left)
        turn_away(listeners)


def describe(listener: Listener) -> str:
    """ADDRESS:PORT or a path, for the log."""
    name = listener.socket.getsockname()
    if isinstance(name, tuple):
        host, port = name[:2]
        text = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    else:
        text = str(name)
    if listener.kind != "smtp":
        return f"{text} ({listener.kind})"
    return f"{text} (TLS)" if listener.tls else text
