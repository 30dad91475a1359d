# SPDX-License-Identifier: MIT
"""Place: where a scanner listens, as the administrator writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A name or IPv4 address, or an IPv6 address, which needs brackets in front of a port.
_is_place = re.compile(
    r"\[(?P<literal>[0-9A-Fa-f:.]+)\](?::(?P<literal_port>[0-9]{1,5}))?"
    r"|(?P<host>[\w.-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<bare>(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]+)"
).fullmatch

#: What the options say would be right.
WANTED = "a socket (/run/NAME.sock) or HOST:PORT"


@dataclass(frozen=True, slots=True)
class Place:
    """A TCP address, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_place(text: str, port: int = 0) -> Place:
    """The place that a text means: /PATH, unix:/PATH, HOST:PORT, [IPV6]:PORT or, if there is a
    default for the port, a host alone.

    Raises a ValueError that says what would be right.
    """
    path = text.removeprefix("unix:")
    if path.startswith("/"):
        return Place(path=path)
    match = _is_place(text)
    if match is None:
        raise ValueError(WANTED)
    host = match["literal"] or match["host"] or match["bare"]
    number = int(match["literal_port"] or match["port"] or port)
    if not 0 < number < 65536:
        raise ValueError(WANTED)
    return Place(host, number)


def parse_places(texts: Iterable[str], port: int = 0) -> tuple[Place, ...]:
    """The places of several texts, each of which may have commas in it."""
    return tuple(parse_place(word, port) for text in texts for word in text.split(",") if word)
