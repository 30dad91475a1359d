# SPDX-License-Identifier: MIT
"""Where the store is: what the file `store` of the configuration says.

/var/lib/qpsmtpd/store.sqlite                 a SQLite file
redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]    a Redis or Valkey server
rediss://...                                  the same with TLS
unix://[[USER]:PASSWORD@]/PATH[?db=DB]        its socket on this machine
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_PORT = 6379

#: What `parse_location` says would be right.
WANTED = (
    "an absolute path of a SQLite file, redis://HOST[:PORT][/DB], rediss://HOST[:PORT][/DB] or "
    "unix:///PATH[?db=DB]; [USER]:PASSWORD@ may follow the slashes"
)


@dataclass(frozen=True)
class RedisLocation:
    """A Redis or Valkey server.

    socket: the path of its socket, "" when host and port apply.
    ca_file: the CA certificates that its own is verified with, "" means those of the system.
    """

    host: str = ""
    port: int = _PORT
    socket: str = ""
    tls: bool = False
    ca_file: str = ""
    db: int = 0
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Without the password."""
        if self.socket:
            return f"unix://{self.socket}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.tls}://{host}:{self.port}/{self.db}"


Location = Path | RedisLocation


def parse_location(text: str) -> Location:
    """Read the location of a store.

    Raises ValueError, whose text says what would be right and never contains the password.
    """
    if text.startswith("/"):
        return Path(text)
    try:
        url = urlsplit(text)
        if url.fragment:
            raise ValueError("a fragment")
        if url.scheme == "unix":
            return _unix(url)
        if url.scheme in ("redis", "rediss"):
            return _network(url)
    except ValueError:
        pass
    raise ValueError(WANTED)


def _network(url: SplitResult) -> RedisLocation:
    tls = url.scheme == "rediss"
    query = _query(url, {"ssl_ca_certs"} if tls else set())
    if not url.hostname:
        raise ValueError("no host")
    return RedisLocation(
        host=url.hostname,
        port=url.port or _PORT,
        tls=tls,
        ca_file=query.get("ssl_ca_certs", ""),
        db=_number(url.path.removeprefix("/") or "0"),
        **_credentials(url),
    )


def _unix(url: SplitResult) -> RedisLocation:
    query = _query(url, {"db"})
    if url.hostname or not url.path.removeprefix("/"):
        raise ValueError("no path")
    return RedisLocation(
        socket=unquote(url.path), db=_number(query.get("db", "0")), **_credentials(url)
    )


def _credentials(url: SplitResult) -> Mapping[str, Any]:
    return {"user": unquote(url.username or ""), "password": unquote(url.password or "")}


def _query(url: SplitResult, known: set[str]) -> dict[str, str]:
    query = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    if query.keys() - known:
        raise ValueError("an unknown parameter")
    return query


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise ValueError("not a number")
    return int(text)


def missing_package(location: Location) -> str:
    """The Debian package that this location needs and that is not installed, else "".

    If it is installed, it is imported: that takes long, and no mail should wait for it later.
    """
    if isinstance(location, RedisLocation):
        try:
            importlib.import_module("redis.asyncio")
        except ImportError:
            return "python3-redis"
    return ""
