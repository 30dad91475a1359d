# SPDX-License-Identifier: MIT
"""Places of databases and queries, as administrators write them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.mysql import MySqlServer
from qpsmtpd.recipients import TableKey
from qpsmtpd.recipients.databases import (
    PostgreSqlServer,
    compile_query,
    database_place,
    says_yes,
)

KEY = TableKey("us'er", "example.test")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/srv/a b.sqlite", Path("/srv/a b.sqlite")),
        ("postgresql://q@db/mail", PostgreSqlServer("db", 5432, "mail", "q")),
        ("postgres://q@[::1]:5433/m%20x", PostgreSqlServer("::1", 5433, "m x", "q")),
        ("postgresql://q@/mail", PostgreSqlServer("/run/postgresql", 5432, "mail", "q")),
        ("postgresql://q@:5433/m?host=/tmp/s", PostgreSqlServer("/tmp/s", 5433, "m", "q")),
        ("mysql://q@db/mail", MySqlServer("db", 3306, "mail", "q")),
        ("mariadb://q@/mail", MySqlServer("/run/mysqld/mysqld.sock", 3306, "mail", "q")),
        ("mysql://q@/mail?socket=/tmp/s", MySqlServer("/tmp/s", 3306, "mail", "q")),
    ],
)
def test_places(text: str, place: object) -> None:
    assert database_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "users.sqlite",
            "oracle://q@db/mail",
            "mysql://q@/mail?host=/tmp",
            "postgresql://db/mail",
            "postgresql://q@db/",
        ),
        *("postgresql://q:secret@db/mail", "postgresql://q:@db/mail", "postgresql://q@db:x/mail"),
        *(
            "postgresql://q@db/m?sslmode=off",
            "postgresql://q@db/m?host=/tmp",
            "postgresql://q@db/a/b",
        ),
        *("postgresql://q@/m?host=db", "postgresql://q@/m?x", "postgresql://q@[::1/m"),
    ],
)
def test_wrong_places(text: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite|password") as caught:
        database_place(text)
    assert "secret" not in str(caught.value)


@given(st.text() | st.from_regex(r"(postgres(ql)?|mysql)://[a-z@:/?\[\]%]*"))
def test_any_text(text: str) -> None:
    with suppress(ValueError):
        database_place(text)


@pytest.mark.parametrize(
    ("query", "text", "values"),
    [
        ("SELECT 1 WHERE a = %s", "SELECT 1 WHERE a = $1", ["us'er@example.test"]),
        ("select x where u = '%u' and d='%d'", "select x where u = $1 and d=$2", [*KEY]),
        ("WITH a AS (SELECT %s) SELECT '%', \"%x\" FROM a", None, ["us'er@example.test"]),
        ("SELECT 1 WHERE a LIKE '%x' AND b = %d", None, ["example.test"]),
        ("SELECT 1 WHERE a = 'it''s' AND b = %u", None, ["us'er"]),
    ],
)
def test_queries(query: str, text: str | None, values: list[str]) -> None:
    compiled = compile_query(query)
    assert compiled.values(KEY) == values
    if text:
        assert compiled.text(lambda n: f"${n}") == text


@pytest.mark.parametrize(
    "query",
    [
        *("", "SELECT 1", "SELECT '%%'", "DELETE FROM users WHERE a = %s", "SELECTED %s"),
        *("SELECT 1 WHERE a = 'x%s'", "SELECT 1 WHERE a = '%u@example.com'", 'SELECT "%s" , %s'),
        "SELECT 1 WHERE b = %d AND a LIKE '%d%'",
    ],
)
def test_wrong_queries(query: str) -> None:
    with pytest.raises(ValueError, match="SELECT or WITH"):
        compile_query(query)


@given(st.text())
def test_an_address_is_never_part_of_the_query(user: str) -> None:
    """Whatever it is, SQLite gets it as a value and gives it back."""
    query = compile_query("SELECT %u, '%d'")
    with closing(sqlite3.connect(":memory:")) as database:
        key = TableKey(user.encode("utf-8", "replace").decode(), "example.test")
        row = database.execute(query.text(lambda _n: "?"), query.values(key)).fetchone()
    assert row == tuple(key)


@pytest.mark.parametrize("row", [None, (), (None, 1), (False,), (0,), ("",), (b"",)])
def test_no(row: Any) -> None:
    assert not says_yes(row)


@pytest.mark.parametrize("row", [(1,), (True, None), ("no",), (b"x", 0), (0.5,)])
def test_yes(row: Any) -> None:
    assert says_yes(row)
