# SPDX-License-Identifier: MIT
"""Where a database is, and the query that finds recipients in it, as the administrator writes them.

The address of a recipient never becomes part of the text of a query: where the administrator writes
%s, the database gets a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from qpsmtpd.logins import mysql
from qpsmtpd.logins.mysql import MySqlServer
from qpsmtpd.recipients.table import TableKey

PORT = 5432

#: Where Debian's PostgreSQL has its socket.
SOCKET_DIRECTORY = "/run/postgresql"

#: What a database has to be, for messages about one that is not.
DATABASE_FORMS = (
    "/PATH of a SQLite file, postgresql://USER@HOST[:PORT]/DATABASE or mysql://..., or for one "
    "on this machine postgresql://USER@/DATABASE[?host=/DIRECTORY] or "
    "mysql://USER@/DATABASE[?socket=/PATH]"
)

QUERY_FORMS = (
    "a query that begins with SELECT or WITH and has %s (the address), %u (the user) or %d (the "
    "domain) in it, outside of other text in quotes"
)

Letter = Literal["s", "u", "d"]

#: Text in quotes, with one placeholder and nothing else in it perhaps; or a placeholder.
_token = re.compile(r"'%([sud])'|('[^']*'|\"[^\"]*\")|%([sud])").finditer
_has_placeholder = re.compile(r"%[sud]").search
_begins_well = re.compile(r"(?:SELECT|WITH)\b", re.IGNORECASE).match


@dataclass(frozen=True, slots=True)
class PostgreSqlServer:
    """host: a name, an address, or the directory of a Unix socket."""

    host: str
    port: int
    database: str
    user: str

    @property
    def is_socket(self) -> bool:
        """Whether it is asked by a Unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql {host}:{self.port} {self.database}"


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What is different in the URLs of one kind of server; `option` names where its socket is."""

    kind: type[PostgreSqlServer | MySqlServer]
    port: int
    option: str
    socket: str


_POSTGRESQL = _Scheme(PostgreSqlServer, PORT, "host", SOCKET_DIRECTORY)
_MYSQL = _Scheme(MySqlServer, mysql.PORT, "socket", mysql.SOCKET)
_SCHEMES = {
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}


def database_place(text: str) -> Path | PostgreSqlServer | MySqlServer:
    """Where a database is.  Raises a ValueError that says what would be right."""
    if text.startswith("/"):
        return Path(text)
    try:
        url = urlsplit(text)
        scheme = _SCHEMES[url.scheme]
        port = url.port or scheme.port
        more = parse_qs(url.query, strict_parsing=True) if url.query else {}
    except (ValueError, KeyError):
        raise ValueError(DATABASE_FORMS) from None
    if url.password is not None:
        raise ValueError("without a password: everybody may read it here; use password_file")
    database, user = unquote(url.path.removeprefix("/")), unquote(url.username or "")
    sockets = more.pop(scheme.option, [])
    host = url.hostname or (sockets or [scheme.socket])[0]
    if more or url.fragment or not (database and user) or "/" in database:
        raise ValueError(DATABASE_FORMS)
    if sockets and (url.hostname or not host.startswith("/")):
        raise ValueError(DATABASE_FORMS)
    return scheme.kind(host, port, database, user)


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its text, and the places in it for parameters."""

    parts: tuple[str, ...]
    letters: tuple[Letter, ...]

    def text(self, parameter: Callable[[int], str]) -> str:
        """The text for a database that writes its nth parameter, from 1, in this way."""
        marks = [*(parameter(n) for n in range(1, len(self.letters) + 1)), ""]
        return "".join(part + mark for part, mark in zip(self.parts, marks, strict=True))

    def values(self, key: TableKey) -> list[str]:
        """The parameters."""
        of: dict[Letter, str] = {"s": key.address, "u": key.user, "d": key.domain}
        return [of[letter] for letter in self.letters]


def compile_query(text: str) -> Query:
    """The query that an administrator has written.

    '%s' in quotes is %s, as Postfix has it.  Raises a ValueError that says what would be right.
    """
    parts: list[str] = []
    letters: list[Any] = []
    end = 0
    for found in _token(text):
        if found[2] is not None:
            if _has_placeholder(found[2]):
                raise ValueError(QUERY_FORMS)
            continue
        parts.append(text[end : found.start()])
        letters.append(found[1] or found[3])
        end = found.end()
    if not letters or not _begins_well(text):
        raise ValueError(QUERY_FORMS)
    return Query((*parts, text[end:]), tuple(letters))


def says_yes(row: Sequence[Any] | None) -> bool:
    """Whether the first row of a result means that the recipient is there.

    Its first column must not be null, false, zero or empty: so count(*) and EXISTS can be used.
    """
    return row is not None and len(row) > 0 and bool(row[0])
