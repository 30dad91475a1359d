# SPDX-License-Identifier: MIT
"""Place: where a service listens, as the administrator writes it.

The forms are those of our own configuration, of Postfix and of libmilter, the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

#: What a place has to be, for messages about one that is not.
PLACE_FORMS = "/PATH or unix:/PATH, HOST:PORT, [IPV6]:PORT, PORT or inet:PORT@HOST"

_LAST_PORT = 65535

_is_path = re.compile(r"(?:unix:|local:)?(/.*)").fullmatch
_is_port = re.compile(r"(inet:|inet6:)?([0-9]+)").fullmatch
_is_port_at_host = re.compile(r"inet6?:([0-9]+)@(.+)").fullmatch
_is_host_port = re.compile(r"(?:inet6?:)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::([0-9]+))?").fullmatch
_is_literal = re.compile(r"\[([0-9A-Fa-f:.]+)\]").fullmatch
_is_name = re.compile(r"[\w.-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Place:
    """host, port: a TCP address; or path: that of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_place(text: str, port: int = 0) -> Place:
    """The place that a text means.

    A socket: /PATH, with unix: or local: before it, or not.  An address: HOST:PORT or [IPV6]:PORT,
    also after inet: or inet6: (Postfix); PORT of this machine; inet:PORT@HOST or inet6:PORT@HOST,
    or without the host (libmilter).  If there is a default for the port, HOST and IPV6 as well.

    Raises a ValueError that says what would be right.
    """
    if path := _is_path(text):
        return Place(path=path[1])
    host, number = _host_and_port(text)
    if literal := _is_literal(host):
        host = literal[1]
    # No more digits than are needed to see that there are too many.
    place = Place(host, int(number[:6] or port))
    if not (_is_name(host) or _is_ipv6(host)) or not 0 < place.port <= _LAST_PORT:
        raise ValueError(PLACE_FORMS)
    return place


def _host_and_port(text: str) -> tuple[str, str]:
    """Both as they are written, "" for a port that is not."""
    if found := _is_port(text):
        return ("::1" if found[1] == "inet6:" else "127.0.0.1"), found[2]
    if found := _is_port_at_host(text):
        return found[2], found[1]
    if found := _is_host_port(text):
        return found[1], found[2] or ""
    return text, ""


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except AddressValueError:
        return False


def parse_places(texts: Iterable[str], port: int = 0) -> tuple[Place, ...]:
    """The places of several texts, each of which may have commas in it."""
    return tuple(parse_place(word, port) for text in texts for word in text.split(",") if word)
