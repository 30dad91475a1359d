# SPDX-License-Identifier: MIT
"""Where commands listen that serve something over HTTP: TCP ports and Unix sockets."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path

from qpsmtpd.config.runoptions import ListenAddress, parse_listen
from qpsmtpd.daemon.sockets import bind
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.metrics.exporter import listen_on

Place = Path | ListenAddress


def place_type(text: str) -> Place:
    """An argparse type: ADDR:PORT, or the path of a socket."""
    if text.startswith("/"):
        return Path(text)
    try:
        return parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a path or {error}") from None


def sockets_at(places: Sequence[Place]) -> list[socket.socket]:
    """Listen there.  Raises QpsmtpdError."""
    sockets = []
    for place in places:
        if isinstance(place, Path):
            try:
                sockets.append(listen_on(place))
            except OSError as error:
                raise QpsmtpdError(f"cannot listen on {place}: {error.strerror}") from None
    addresses = [place for place in places if isinstance(place, ListenAddress)]
    return [*sockets, *(each.socket for each in bind(addresses))]
