# SPDX-License-Identifier: MIT
"""Where the store is: what the file `store` of the configuration says.

/var/lib/qpsmtpd/store.sqlite                             a SQLite file
redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]                a Redis or Valkey server
unix://[[USER]:PASSWORD@]/PATH[?db=DB]                    its socket on this machine
redis+sentinel://[...@]HOST[:PORT][,HOST...]/NAME[/DB]    the master that Sentinels know as NAME
redis+cluster://[...@]HOST[:PORT][,HOST...]               a Cluster, by some of its nodes

With rediss in place of redis, all connections use TLS.  Parameters, after `?` and joined by `&`,
are those of PARAMETERS; the names of the first three are python3-redis' own.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_PORT = 6379
_SENTINEL_PORT = 26379

#: What `parse_location` says would be right when it cannot tell what is meant.
WANTED = (
    "an absolute path of a SQLite file, redis://HOST[:PORT][/DB], unix:///PATH[?db=DB], "
    "redis+sentinel://HOST[:PORT],.../NAME[/DB] or redis+cluster://HOST[:PORT],... (rediss with "
    "TLS); [USER]:PASSWORD@ may follow the slashes"
)

_TLS_PARAMETERS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_PARAMETERS = ("sentinel_user", "sentinel_password_file")

#: Every parameter of a location, and what it is.
PARAMETERS = {
    "ssl_ca_certs": "file with the certificates of the CAs that sign those of servers; by default "
    "the CAs of the system count",
    "ssl_certfile": "file with our own certificate, for servers that ask for one",
    "ssl_keyfile": "file with the key of that certificate",
    "password_file": "file whose first line is the password",
    "sentinel_user": "our user at the Sentinels, if it is another one there than `default`",
    "sentinel_password_file": "file whose first line is our password at the Sentinels",
    "db": "number of the database, where there is no host",
}
_FILES = frozenset(name for name in PARAMETERS if name.endswith(("file", "certs")))

_parts = re.compile(
    r"(?P<scheme>unix|rediss?(?:\+(?:sentinel|cluster))?)://"
    r"(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
).fullmatch
_is_number = re.compile(r"\d{1,6}", re.ASCII).fullmatch
_is_service = re.compile(r"[\w.-]+", re.ASCII).fullmatch


class Address(NamedTuple):
    """Where a server listens; it is shown as in a URL."""

    host: str
    port: int = _PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class RedisLocation:
    """A Redis or Valkey server, or several that belong together.

    addresses: of the server, of Sentinels, or of some nodes of a Cluster; empty with a socket.
    socket: the path of its socket.
    service: what Sentinels call the master; "" without Sentinels.
    ca_file: the CA certificates that theirs are verified with, "" means those of the system.
    certificate, key: files of our own certificate, "" without one.
    password_file: the file that has the password, in place of `password`.
    """

    addresses: tuple[Address, ...] = ()
    socket: str = ""
    service: str = ""
    cluster: bool = False
    tls: bool = False
    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    db: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    sentinel_user: str = ""
    sentinel_password_file: str = ""

    def __str__(self) -> str:
        """Without the password."""
        if self.socket:
            return f"unix://{self.socket}?db={self.db}"
        kind = "+sentinel" if self.service else "+cluster" if self.cluster else ""
        path = "" if self.cluster else f"/{self.db}"
        name = f"/{self.service}" if self.service else ""
        return f"redis{'s' * self.tls}{kind}://{','.join(map(str, self.addresses))}{name}{path}"

    @property
    def password_files(self) -> Mapping[str, str]:
        """The files with passwords, by their parameters."""
        names = ("password_file", "sentinel_password_file")
        return {name: path for name in names if (path := getattr(self, name))}


Location = Path | RedisLocation


def parse_location(text: str) -> Location:
    """Read the location of a store.

    Raises ValueError, whose text says what would be right and never contains a part of `text`,
    which may be a password.
    """
    if text.startswith("/"):
        return Path(text)
    parts = _parts(text)
    if parts is None:
        raise ValueError(WANTED)
    scheme, _, kind = parts["scheme"].partition("+")
    tls = scheme == "rediss"
    query = _query(parts["query"], _known(scheme, kind))
    common = {"tls": tls, **_credentials(parts["user"], parts["password"], query)}
    common |= _files(query)
    hosts, path = parts["hosts"], (parts["path"] or "").removeprefix("/")
    if scheme == "unix":
        return _unix(hosts, path, query, common)
    return _KINDS[kind](hosts, path, query, common)


def _known(scheme: str, kind: str) -> set[str]:
    """The parameters that make sense there."""
    known = {"password_file"}
    known |= {"db"} if scheme == "unix" else set()
    known |= set(_TLS_PARAMETERS) if scheme == "rediss" else set()
    return known | (set(_SENTINEL_PARAMETERS) if kind == "sentinel" else set())


def _query(text: str | None, known: set[str]) -> dict[str, str]:
    try:
        query = dict(parse_qsl(text or "", keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        query = {"": ""}
    if query.keys() - known or not all(query.values()):
        raise ValueError(
            f"a location whose parameters, after '?', are NAME=VALUE with one of these names: "
            f"{', '.join(name for name in PARAMETERS if name in known)}; a '?' in a password has "
            "to be written as %3F"
        )
    for name in _FILES & query.keys():
        if not query[name].startswith("/"):
            raise ValueError(f"a location whose {name} is an absolute path")
    return query


def _credentials(
    user: str | None, password: str | None, query: Mapping[str, str]
) -> dict[str, Any]:
    if password and "password_file" in query:
        raise ValueError("a location with a password or with a password_file, not with both")
    return {"user": unquote(user or ""), "password": unquote(password or "")}


def _files(query: Mapping[str, str]) -> dict[str, Any]:
    if ("ssl_certfile" in query) != ("ssl_keyfile" in query):
        raise ValueError("a location with both ssl_certfile and ssl_keyfile, or with neither")
    return {
        "ca_file": query.get("ssl_ca_certs", ""),
        "certificate": query.get("ssl_certfile", ""),
        "key": query.get("ssl_keyfile", ""),
        "password_file": query.get("password_file", ""),
        "sentinel_user": query.get("sentinel_user", ""),
        "sentinel_password_file": query.get("sentinel_password_file", ""),
    }


Make = Callable[[str, str, Mapping[str, str], Mapping[str, Any]], RedisLocation]


def _unix(
    hosts: str, path: str, query: Mapping[str, str], common: Mapping[str, Any]
) -> RedisLocation:
    if hosts or not path:
        raise ValueError("unix:///PATH, with three slashes and the path of a socket")
    return RedisLocation(socket=f"/{unquote(path)}", db=_number(query.get("db", "0")), **common)


def _server(
    hosts: str, path: str, _query: Mapping[str, str], common: Mapping[str, Any]
) -> RedisLocation:
    addresses = _addresses(hosts, _PORT)
    if len(addresses) > 1:
        raise ValueError(
            "a single host; several belong to redis+sentinel://HOST,.../NAME or to "
            "redis+cluster://HOST,..."
        )
    return RedisLocation(addresses, db=_number(path or "0"), **common)


def _sentinel(
    hosts: str, path: str, _query: Mapping[str, str], common: Mapping[str, Any]
) -> RedisLocation:
    service, _, db = path.partition("/")
    if not _is_service(service):
        raise ValueError(
            "redis+sentinel://HOST[:PORT],.../NAME, where NAME is what follows "
            "`sentinel monitor` in sentinel.conf"
        )
    addresses = _addresses(hosts, _SENTINEL_PORT)
    return RedisLocation(addresses, service=service, db=_number(db or "0"), **common)


def _cluster(
    hosts: str, path: str, _query: Mapping[str, str], common: Mapping[str, Any]
) -> RedisLocation:
    if path not in ("", "0"):
        raise ValueError("redis+cluster://HOST[:PORT],... without a path: it has one database, 0")
    return RedisLocation(_addresses(hosts, _PORT), cluster=True, **common)


#: What follows the plus sign.
_KINDS: Mapping[str, Make] = {"": _server, "sentinel": _sentinel, "cluster": _cluster}


def _addresses(hosts: str, port: int) -> tuple[Address, ...]:
    return tuple(_address(host, port) for host in hosts.split(","))


def _address(text: str, port: int) -> Address:
    try:
        url = urlsplit(f"//{text}")
        if url.hostname:
            return Address(url.hostname, url.port or port)
    except ValueError:
        pass
    raise ValueError("a location in which each host is HOST or HOST:PORT, IPv6 addresses in []")


def _number(text: str) -> int:
    if not _is_number(text):
        raise ValueError("a location whose database is a number")
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
