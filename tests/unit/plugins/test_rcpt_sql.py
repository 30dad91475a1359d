# SPDX-License-Identifier: MIT
"""rcpt_sql: SQLite as it is, and PostgreSQL as far as no server is needed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import ConfigError
from qpsmtpd.logins import mysql
from qpsmtpd.plugins.rcpt_sql import FILE, RcptSql, RcptSqlOptions
from qpsmtpd.recipients import postgresql
from qpsmtpd.recipients.mysql import MySqlTable
from qpsmtpd.recipients.postgresql import PostgreSqlTable
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.stream_server import port_of, stream_server
from tests.unit.client import until
from tests.unit.logins.fakemysql import OK, failure, fake_mysql, packet, rows
from tests.unit.recipients.asking import LATER, NO, NOBODY, USER, reply
from tests.unit.scanners.fake import NONSENSE, SILENT, Answer, Early, fake_scanner

QUERY = "query SELECT active FROM users WHERE address = %s"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "u?ser s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (address TEXT, active INT)")
        users = [(USER, 1), ("gone@example.test", 0), ("@catch.test", 1)]
        connection.executemany("INSERT INTO users VALUES (?, ?)", users)
        connection.commit()
    path.rename(tmp_path / "users.sqlite")
    return tmp_path / "users.sqlite"


async def asker(line: str, file: list[str] | None = None, **lent: Any) -> RcptSql:
    config = {"rcpthosts": ["example.test", "catch.test"], FILE: file or []}
    return await a_plugin(RcptSql, line, config=config, **lent)


# --- SQLite ---------------------------------------------------------------------------------


async def test_known_and_unknown(database: Path) -> None:
    plugin = await asker(f"database {database} catch_all yes {QUERY}")
    assert await reply(plugin, "User@example.test") == ""
    assert await reply(plugin, NOBODY) == NO
    assert await reply(plugin, "gone@example.test") == NO
    assert await reply(plugin, "anybody@catch.test") == ""


@pytest.mark.parametrize("user", ["'", "' or 1=1 --", '"x', "%s", "?", "\\", "ü"])
async def test_an_address_is_a_value(database: Path, user: str) -> None:
    quoted = user.replace("\\", "\\\\").replace('"', '\\"')
    plugin = await asker(f"database {database} {QUERY}")
    assert await reply(plugin, f'"{quoted}"@example.test') == NO
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO users VALUES (?, 1)", [f"{user}@example.test"])
        connection.commit()
    plugin = await asker(f"database {database} {QUERY}")
    assert await reply(plugin, f'"{quoted}"@example.test') == ""


async def test_options_of_the_file(database: Path) -> None:
    file = [
        f"database {database}",
        "query SELECT count(*) FROM users WHERE '%u' || '@' || '%d' = address",
        "negative 0",
        "on_error pass",
    ]
    plugin = await asker("", file)
    assert await reply(plugin, USER) == ""
    assert await reply(plugin, NOBODY) == NO
    database.unlink()
    assert await reply(plugin, NOBODY) == ""


async def test_it_is_not_written_to(database: Path) -> None:
    before = database.read_bytes()
    query = "query WITH x AS (SELECT %s) INSERT INTO users SELECT *, 1 FROM x RETURNING 1"
    plugin = await asker(f"database {database} {query}")
    assert await reply(plugin, NOBODY) == LATER
    assert database.read_bytes() == before


@pytest.mark.parametrize("octets", [b"", b"\0" * 5000, b"SQLite format 3\0nonsense" * 500])
async def test_what_is_no_database(database: Path, octets: bytes) -> None:
    database.write_bytes(octets)
    assert await reply(await asker(f"database {database} {QUERY}"), NOBODY) == LATER


async def test_no_file_is_made(tmp_path: Path) -> None:
    plugin = await asker(f"database {tmp_path}/none.sqlite {QUERY}")
    assert await reply(plugin, NOBODY) == LATER
    assert not list(tmp_path.iterdir())


async def test_a_wrong_query(database: Path) -> None:
    plugin = await asker(f"database {database} query SELECT 1 FROM nowhere WHERE a = %s")
    assert await reply(plugin, USER) == LATER
    [finding] = await findings_of(plugin, FakeSystem(Path("/")))
    assert "no such table: nowhere" in str(finding)


async def test_a_query_without_end(database: Path) -> None:
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"
    plugin = await asker(f"database {database} timeout 0.1 query {forever} WHERE %s > ''")
    assert await reply(plugin, USER) == LATER


async def test_who_writes_to_it_is_waited_for(database: Path) -> None:
    hasty = await asker(f"database {database} timeout 0.1 {QUERY}")
    patient = await asker(f"database {database} timeout 50 {QUERY}")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert await reply(hasty, USER) == LATER
        waiting = asyncio.create_task(reply(patient, USER))
        await asyncio.sleep(0)
    assert await waiting == ""


# --- lines ----------------------------------------------------------------------------------


def test_the_query_is_the_rest_of_the_line() -> None:
    for words in (["query", "SELECT", "a=b"], ["query=SELECT", "a=b"]):
        assert RcptSqlOptions.rewrite(["timeout", "5", *words]) == [
            "timeout",
            "5",
            "query=SELECT a=b",
        ]
    assert RcptSqlOptions.rewrite(["query"]) == ["query"]


@pytest.mark.parametrize(
    ("line", "file", "problem"),
    [
        ("", [], "needs database and query"),
        ("database /x", [], "needs database and query"),
        (f"database x {QUERY}", [], "SQLite"),
        (f"database postgresql://u:geheim@h/d {QUERY}", [], "password_file"),
        ("database /x query", [], "no value"),
        ("database /x query DROP TABLE users", [], "SELECT or WITH"),
        ("database /x query SELECT 1", [], "SELECT or WITH"),
        (f"database postgresql://u@/d password_file /none {QUERY}", [], "No such file"),
        (f"database postgresql://u@db/d ca /none {QUERY}", [], "No such file"),
        ("", ["databose x"], "rcpt_sql:1"),
        (f"database mysql://u@db/d tls off {QUERY}", [], "has to have TLS"),
        (f"database mysql://u@db/d tls require {QUERY}", [], "has to have TLS"),
    ],
)
async def test_wrong_lines(line: str, file: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await asker(line, file)


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    for library in (postgresql, mysql):
        monkeypatch.setattr(library, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="python3-asyncpg"):
        await asker(f"database postgresql://u@/d {QUERY}")
    with pytest.raises(ConfigError, match="python3-pymysql"):
        await asker(f"database mysql://u@/d {QUERY}")
    await asker(f"database {database} {QUERY}")


# --- PostgreSQL -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "context"),
    [
        ("database postgresql://u@/d", False),
        ("database postgresql://u@127.0.0.1/d", False),
        ("database postgresql://u@db.example/d", True),
        ("database postgresql://u@db.example/d tls off", False),
        ("database postgresql://u@localhost/d tls require", True),
    ],
)
async def test_tls(line: str, context: bool) -> None:
    backend = await (await asker(f"{line} {QUERY}"))._backend()
    assert isinstance(backend, PostgreSqlTable)
    assert (backend._context is not None) is context


LIES = [answer for answer in NONSENSE if not isinstance(answer, Early)]
#: An error message, and an authentication method that nobody knows (its manual, 55.7).
LIES += [b"E\0\0\0\5\0", b"R\0\0\0\x08\0\0\0\x63", b"N"]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie)[:30])
async def test_nonsense(lie: Answer) -> None:
    async with fake_scanner(bool, lie) as server:
        line = f"database postgresql://u@{server.place}/d timeout 0.3 {QUERY}"
        plugin = await asker(line)
        assert await reply(plugin, USER) == LATER
        await plugin.stop()


async def test_nothing_without_tls(tmp_path: Path) -> None:
    """A server that says it has none gets neither the name nor the password."""
    (tmp_path / "password").write_text("geheim\n")
    (tmp_path / "password").chmod(0o600)
    said: list[bytes] = []

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(100))
        writer.write(b"N")
        said.append(await reader.read(100))

    for mode in ("require", "verify"):
        async with stream_server(no_tls) as server:
            place = f"postgresql://u@127.0.0.1:{port_of(server)}/d"
            line = f"database {place} password_file {tmp_path}/password"
            plugin = await asker(f"{line} tls {mode} {QUERY}")
            assert await reply(plugin, USER) == LATER
            await until(lambda: len(said) == 2)
        assert said == [b"\0\0\0\x08\x04\xd2\x16\x2f", b""]
        said.clear()


async def test_nobody_there(nowhere: str) -> None:
    plugin = await asker(f"database postgresql://u@{nowhere}/d {QUERY}")
    assert await reply(plugin, USER) == LATER


# --- MySQL ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "context"),
    [("mysql://u@/d", False), ("mysql://u@127.0.0.1/d", False), ("mysql://u@db.example/d", True)],
)
async def test_tls_of_mysql(place: str, context: bool) -> None:
    backend = await (await asker(f"database {place} {QUERY}"))._backend()
    assert isinstance(backend, MySqlTable)
    assert (backend.access.context is not None) is context


@pytest.mark.parametrize(
    ("value", "verdict"), [("1", ""), ("x", ""), ("", NO), (None, NO)], ids=repr
)
async def test_known_and_unknown_in_mysql(value: str | None, verdict: str) -> None:
    with fake_mysql(packet(2, OK), rows({"active": value})) as server:
        plugin = await asker(f"database mysql://u@{server.place}/d {QUERY}")
        assert await reply(plugin, USER) == verdict
    assert f"address = _utf8mb4 0x{USER.encode().hex()}".encode() in server.said[1]


@pytest.mark.parametrize(("octets", "verdict"), [(b"\0", NO), (b"\1", "")])
async def test_bits_of_mysql(octets: bytes, verdict: str) -> None:
    with fake_mysql(packet(2, OK), rows({"active": octets}, kind=0x10)) as server:
        plugin = await asker(f"database mysql://u@{server.place}/d {QUERY}")
        assert await reply(plugin, USER) == verdict


async def test_what_a_column_of_mysql_cannot_have() -> None:
    for address, verdict in (("Ω@example.test", NO), (USER, LATER)):
        with fake_mysql(packet(2, OK), failure(1, 1267)) as server:
            plugin = await asker(f"database mysql://u@{server.place}/d {QUERY}")
            assert await reply(plugin, address) == verdict


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie)[:30])
async def test_nonsense_of_mysql(lie: Answer) -> None:
    with fake_mysql(packet(2, OK), lie) as server:
        line = f"database mysql://u@{server.place}/d timeout {0.3 if lie == SILENT else 50}"
        assert await reply(await asker(f"{line} {QUERY}"), USER) == LATER
