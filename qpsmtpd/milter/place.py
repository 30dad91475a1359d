# SPDX-License-Identifier: MIT
"""Place: where a milter listens, as qpsmtpd, libmilter and Postfix write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"

_LAST_PORT = 65535

_is_name = re.compile(r"[A-Za-z0-9._-]+").fullmatch
_is_ipv6 = re.compile(r"(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]+").fullmatch
_of_libmilter = re.compile(r"(inet6?):(\d+)(?:@(.+))?").fullmatch
_of_postfix = re.compile(r"(inet6?):(.+):(\d+)").fullmatch
_plain = re.compile(r"(?:(.+):)?(\d+)").fullmatch

#: What a place has to be, for messages about one that is wrong.
FORMS = "HOST:PORT, PORT, unix:/PATH, inet:PORT@HOST or inet6:PORT@HOST"


@dataclass(frozen=True, slots=True)
class Place:
    """host, port: a TCP address; or path: a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_place(text: str) -> Place:
    """Read a place.  Raises ValueError, which says what it has to be."""
    for prefix in ("unix:", "local:", ""):
        path = text.removeprefix(prefix)
        if text.startswith(prefix) and path.startswith("/"):
            return Place(path=path)
    if found := _of_libmilter(text):
        return _tcp(found[3] or ("::1" if found[1] == "inet6" else LOOPBACK), found[2])
    if found := _of_postfix(text):
        return _tcp(found[2], found[3])
    if found := _plain(text):
        return _tcp(found[1] or LOOPBACK, found[2])
    raise ValueError(FORMS)


def _tcp(host: str, port: str) -> Place:
    host = host.removeprefix("[").removesuffix("]")
    if not (_is_name(host) or _is_ipv6(host)) or not 0 < int(port[:6]) <= _LAST_PORT:
        raise ValueError(FORMS)
    return Place(host, int(port))
