# SPDX-License-Identifier: MIT
"""Real tables of recipients: known, unknown, and what is said when they die, hang and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Plugin
from qpsmtpd.plugins.rcpt_ldap import RcptLdap
from qpsmtpd.plugins.rcpt_socketmap import RcptSocketmap
from qpsmtpd.plugins.rcpt_sql import RcptSql
from qpsmtpd.testing import FakeClock, FakeSystem, a_plugin, findings_of
from tests.debian_system import RELEASES, System
from tests.login_servers import RealServer, real_slapd
from tests.socketmap_server import socketmap_server
from tests.table_servers import (
    DATABASE,
    PASSWORD,
    ROLE,
    postfix_system,
    postmap,
    real_mariadb,
    real_postgresql,
)
from tests.unit.client import on_both_loops
from tests.unit.recipients.asking import LATER, NO, NOBODY, OURS, USER, reply

pytestmark = pytest.mark.real_systems

QUERY = "query SELECT active FROM users WHERE address = %s"
#: Nothing is remembered, so that every question is asked.
FORGETFUL = "positive 0 negative 0"


@pytest.fixture(scope="module")
def slapd() -> Iterator[RealServer]:
    with real_slapd() as server:
        yield server


@pytest.fixture(scope="module", params=RELEASES)
def postgresql(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with real_postgresql(request.param) as server:
        yield server


@pytest.fixture(scope="module", params=RELEASES)
def postfix(request: pytest.FixtureRequest) -> Iterator[System]:
    with postfix_system(request.param) as system:
        yield system


def ldap_line(server: RealServer) -> str:
    return (
        f"ldap_port {server.port} ldap_base dc=example,dc=test ldap_tls verify "
        f"ldap_ca {server.ca} {FORGETFUL}"
    )


def password_file(directory: Path, password: str = PASSWORD) -> Path:
    file = directory / "password"
    file.write_text(f"{password}\n")
    file.chmod(0o600)
    return file


def sql_line(server: RealServer, directory: Path) -> str:
    return (
        f"database postgresql://{ROLE}@127.0.0.1:{server.port}/{DATABASE} tls verify "
        f"ca {server.ca} password_file {password_file(directory)} {FORGETFUL}"
    )


async def started(plugin: type[Plugin[Any]], line: str, more: str = "") -> Plugin[Any]:
    return await a_plugin(plugin, f"{line} {more}", config=OURS, clock=FakeClock())


def let_time_pass(plugin: Plugin[Any]) -> None:
    """Whoever was down may be asked again."""
    assert isinstance(plugin.services.clock, FakeClock)
    plugin.services.clock.advance(60)


async def through_death(
    kind: type[Plugin[Any]], line: str, server: RealServer, more: str = ""
) -> None:
    """Its answers in mid-traffic: while it is there, gone, back, silent, and back again."""
    plugin = await started(kind, line, f"timeout 30 {more}")
    addresses = [USER, NOBODY] * 4
    try:
        assert await many(plugin, addresses) == ["", NO] * 4
        server.process.kill()
        assert await many(plugin, addresses) == [LATER] * 8
        server.process.start()
        let_time_pass(plugin)
        assert await reply(plugin, NOBODY) == NO
        assert await many(plugin, addresses) == ["", NO] * 4
    finally:
        await plugin.stop()
    hasty = await started(kind, line, f"timeout 1 {more}")
    try:
        # Whoever has the time may be slow on a busy machine, but never wrong.
        assert await reply(hasty, NOBODY) in (NO, LATER)
        server.process.pause()
        assert await many(hasty, addresses[:4]) == [LATER] * 4
        server.process.resume()
    finally:
        server.process.resume()
        await hasty.stop()
    again = await started(kind, line, f"timeout 30 {more}")
    try:
        assert await many(again, addresses) == ["", NO] * 4
    finally:
        await again.stop()


async def many(plugin: Plugin[Any], addresses: list[str]) -> list[str]:
    """What is said about some recipients at once."""
    return list(await asyncio.gather(*(reply(plugin, address) for address in addresses)))


async def health(plugin: type[Plugin[Any]], line: str, more: str = "") -> str:
    [finding] = await findings_of(await started(plugin, line, more), FakeSystem(Path("/")))
    return f"{finding.severity.name} {finding.text}"


# --- slapd ----------------------------------------------------------------------------------


async def test_slapd(slapd: RealServer) -> None:
    await through_death(RcptLdap, ldap_line(slapd), slapd)


async def test_what_slapd_does_not_have_or_show(slapd: RealServer) -> None:
    line = ldap_line(slapd)
    elsewhere = line.replace("dc=example", "dc=elsewhere")
    assert await reply(await started(RcptLdap, elsewhere), NOBODY) == LATER
    assert "code 32" in await health(RcptLdap, elsewhere)
    assert (await health(RcptLdap, line, f"canary {USER}")).startswith("OK")
    hidden = await started(RcptLdap, line, f"canary {USER} ldap_filter (userPassword=%s)")
    assert await reply(hidden, NOBODY) == LATER
    for address in ("*@example.test", '"*)(uid=*"@example.test', '"\\\\2a"@example.test'):
        assert await reply(await started(RcptLdap, line), address) == NO
    both = "delimiter + ldap_filter (&(uid=%u)(mail=*@%d))"
    assert await reply(await started(RcptLdap, line, both), "user+x@example.test") == ""


async def test_a_certificate_that_is_not_valid(slapd: RealServer) -> None:
    line = ldap_line(slapd).replace(f"ldap_ca {slapd.ca}", "")
    assert await reply(await started(RcptLdap, line), USER) == LATER


# --- PostgreSQL -----------------------------------------------------------------------------


@on_both_loops
async def test_postgresql(postgresql: RealServer, tmp_path: Path) -> None:
    await through_death(RcptSql, sql_line(postgresql, tmp_path), postgresql, QUERY)


async def test_what_postgresql_refuses(postgresql: RealServer, tmp_path: Path) -> None:
    line = sql_line(postgresql, tmp_path)
    wrong = [
        (line, "query SELECT 1 FROM none_such WHERE a = %s"),
        (line, "query SELECT 1 FROM users WHERE nonsense %s"),
        (line.replace(f"/{DATABASE} ", "/none_such "), QUERY),
        (line.replace(f"{ROLE}@", "nobody@"), QUERY),
        (line.replace("tls verify", "tls off").replace(f"ca {postgresql.ca}", ""), QUERY),
        (line.replace(f"ca {postgresql.ca}", ""), QUERY),
    ]
    for words, query in wrong:
        plugin = await started(RcptSql, words, query)
        assert await reply(plugin, USER) == LATER
        assert (await health(RcptSql, words, query)).startswith("ERROR")
        await plugin.stop()
    password_file(tmp_path, "wrong")
    assert await reply(await started(RcptSql, line, QUERY), USER) == LATER


async def test_queries_of_postgresql(postgresql: RealServer, tmp_path: Path) -> None:
    line = sql_line(postgresql, tmp_path)
    queries = {
        QUERY: ["", NO, NO],
        "query SELECT EXISTS (SELECT FROM users WHERE address = '%s')": ["", NO, ""],
        "query SELECT count(*) FROM users WHERE address = %u || '@' || %d": ["", NO, ""],
        "delimiter + query SELECT 1 FROM users WHERE address = %s": ["", NO, ""],
    }
    for query, expected in queries.items():
        plugin = await started(RcptSql, line, query)
        try:
            addresses = [USER, "'; DROP TABLE users; --@example.test", "gone@example.test"]
            addresses[1] = f'"{addresses[1].partition("@")[0]}"@example.test'
            assert await many(plugin, addresses) == expected
        finally:
            await plugin.stop()
    assert (await health(RcptSql, line, f"canary {USER} {QUERY}")).startswith("OK")


async def test_the_socket_of_postgresql(postgresql: RealServer, tmp_path: Path) -> None:
    directory = Path(postgresql.process.place).parent
    place = f"postgresql://{ROLE}@:{postgresql.port}/{DATABASE}?host={directory}"
    line = f"database {place} password_file {password_file(tmp_path)}"
    plugin = await started(RcptSql, line, QUERY)
    try:
        assert await many(plugin, [USER, NOBODY]) == ["", NO]
    finally:
        await plugin.stop()


# --- MariaDB --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=RELEASES)
def mariadb(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with real_mariadb(request.param) as server:
        yield server


def mysql_line(server: RealServer, directory: Path) -> str:
    return sql_line(server, directory).replace("postgresql:", "mysql:")


@on_both_loops
async def test_mariadb(mariadb: RealServer, tmp_path: Path) -> None:
    await through_death(RcptSql, mysql_line(mariadb, tmp_path), mariadb, QUERY)


async def test_queries_of_mariadb(mariadb: RealServer, tmp_path: Path) -> None:
    place = f"mysql://{ROLE}@/{DATABASE}?socket={mariadb.process.place}"
    line = f"database {place} password_file {password_file(tmp_path)} {FORGETFUL}"
    by_parts = "address = CONCAT(%u, '@', %d)"
    queries = {
        QUERY: ["", NO, NO],
        "query SELECT EXISTS (SELECT 1 FROM users WHERE address = '%s')": ["", NO, ""],
        f"query SELECT count(*) FROM users WHERE {by_parts}": ["", NO, ""],
        f"query SELECT b'1' FROM users WHERE {by_parts}": ["", NO, ""],
        f"query SELECT b'0' FROM users WHERE {by_parts}": [NO, NO, NO],
        "delimiter + catch_all yes query SELECT 1 FROM users WHERE address = %s": ["", NO, ""],
    }
    addresses = [USER, "\"'or\\\\'1\"@example.test", "gone@example.test"]
    for query, expected in queries.items():
        assert await many(await started(RcptSql, line, query), addresses) == expected
    # The column is in latin1.
    assert await reply(await started(RcptSql, line, QUERY), "Ω@example.test") == NO
    assert (await health(RcptSql, line, f"canary {USER} {QUERY}")).startswith("OK")
    wrong = [
        (line, "query SELECT 1 FROM none_such WHERE a = %s"),
        (line, "query SELECT 1 FROM users WHERE nonsense %s"),
        (line.replace(f"/{DATABASE}?", "/none_such?"), QUERY),
        (line.replace(f"{ROLE}@", "nobody@"), QUERY),
        (mysql_line(mariadb, tmp_path).replace(f"ca {mariadb.ca}", ""), QUERY),
    ]
    for words, query in wrong:
        assert await reply(await started(RcptSql, words, query), USER) == LATER


# --- Postfix --------------------------------------------------------------------------------


async def test_postfix_asks_the_same_server(postfix: System) -> None:
    """What our tests take for socketmap is what Postfix takes for it."""
    async with socketmap_server({USER: "value"}) as server:
        table = f"socketmap:inet:{server.place}:users"
        assert (await asyncio.to_thread(postmap, postfix, table, USER)).strip() == "value"
        assert (await asyncio.to_thread(postmap, postfix, table, NOBODY)).strip() == ""
        asked = list(server.asked)
        server.asked.clear()
        plugin = await started(RcptSocketmap, f"{server.place} users")
        assert [await reply(plugin, address) for address in (USER, NOBODY)] == ["", NO]
        assert server.asked == asked
