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

from qpsmtpd.recipients.table import TableKey

PORT = 5432

#: Where Debian's PostgreSQL has its socket.
SOCKET_DIRECTORY = "/run/postgresql"

#: What a database has to be, for messages about one that is not.
DATABASE_FORMS = (
    "/PATH of a SQLite file, postgresql://USER@HOST[:PORT]/DATABASE, or "
    "postgresql://USER@/DATABASE[?host=/DIRECTORY] for a server on this machine"
)

QUERY_FORMS = (
    "a query that begins with SELECT or WITH and has %s (the address), %u (the user) or %d (the "
    "domain) in it, outside of other text in quotes"
)

_SCHEMES = ("postgresql", "postgres")

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


def database_place(text: str) -> Path | PostgreSqlServer:
    """Where a database is.  Raises a ValueError that says what would be right."""
    if text.startswith("/"):
        return Path(text)
    try:
        url = urlsplit(text)
        port = url.port or PORT
        more = parse_qs(url.query, strict_parsing=True) if url.query else {}
    except ValueError:
        raise ValueError(DATABASE_FORMS) from None
    if url.password is not None:
        raise ValueError("without a password: everybody may read it here; use password_file")
    database, user = unquote(url.path.removeprefix("/")), unquote(url.username or "")
    directories = more.pop("host", [])
    host = url.hostname or (directories or [SOCKET_DIRECTORY])[0]
    if url.scheme not in _SCHEMES or more or url.fragment or not (database and user):
        raise ValueError(DATABASE_FORMS)
    if "/" in database or (directories and (url.hostname or not host.startswith("/"))):
        raise ValueError(DATABASE_FORMS)
    return PostgreSqlServer(host, port, database, user)


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
