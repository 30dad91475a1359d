# SPDX-License-Identifier: MIT
"""Real back ends of logins: a right password, a wrong one, and what is said when they are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Plugin, Verdict, accept
from qpsmtpd.logins import WRONG
from qpsmtpd.plugins.auth.auth_dovecot import AuthDovecot
from qpsmtpd.plugins.auth.auth_imap import AuthImap
from qpsmtpd.plugins.auth.auth_ldap_bind import AuthLdapBind
from qpsmtpd.plugins.auth.auth_vpopmail_sql import DSN, PASSWORD_FILE, AuthVpopmailSql
from qpsmtpd.plugins.auth.auth_vpopmail_sql import USER as DATABASE_USER
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.debian_system import RELEASES
from tests.login_servers import PASSWORD, USER, USERS, RealServer, real_dovecot, real_slapd
from tests.table_servers import DATABASE, ROLE, real_mariadb
from tests.table_servers import PASSWORD as DATABASE_PASSWORD
from tests.unit.logins.fake import assert_temporary, log_in

pytestmark = pytest.mark.real_systems


@pytest.fixture(scope="module", params=RELEASES)
def dovecot(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with real_dovecot(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def slapd() -> Iterator[RealServer]:
    with real_slapd() as server:
        yield server


def line_of(plugin: type[Plugin[Any]], server: RealServer) -> str:
    """The line for a plugin that asks this server."""
    if plugin is AuthDovecot:
        return server.process.place
    if plugin is AuthImap:
        return f"127.0.0.1 {server.port} tls verify ca {server.ca}"
    return (
        f"ldap_port {server.port} ldap_base dc=example,dc=test ldap_tls verify "
        f"ldap_ca {server.ca} ldap_timeout 30"
    )


def is_wrong(verdict: Verdict | None) -> bool:
    return verdict is None or (verdict.code == 0 and verdict.status == "5.7.8")


async def one_of_each(plugin: type[Plugin[Any]], server: RealServer) -> None:
    """Right and wrong logins, the server's death, and its return."""
    line = line_of(plugin, server)
    assert await log_in(plugin, line, USER, PASSWORD) == accept()
    for user, password in (
        (USER, "wrong"),
        (USER, PASSWORD.upper()),
        ("nobody@example.test", PASSWORD),
        ("*", PASSWORD),
        ("user)(uid=*@example.test", PASSWORD),
    ):
        assert is_wrong(await log_in(plugin, line, user, password)), (user, password)
    [finding] = await findings_of(await a_plugin(plugin, line), FakeSystem(Path("/")))
    assert finding.severity.name == "OK", finding
    server.process.kill()
    for password in (PASSWORD, "wrong"):
        assert_temporary(await log_in(plugin, line, USER, password), password)
    server.process.start()
    assert await log_in(plugin, line, USER, PASSWORD) == accept()
    server.process.pause()
    assert_temporary(await log_in(plugin, f"{line} {short(plugin)}", USER, PASSWORD))
    server.process.resume()
    assert await log_in(plugin, line, USER, PASSWORD) == accept()


def short(plugin: type[Plugin[Any]]) -> str:
    """The option that has it wait for a second only."""
    return "ldap_timeout 1" if plugin is AuthLdapBind else "timeout 1"


@pytest.mark.parametrize("plugin", [AuthDovecot, AuthImap])
async def test_dovecot(dovecot: RealServer, plugin: type[Plugin[Any]]) -> None:
    await one_of_each(plugin, dovecot)


@pytest.mark.parametrize("plugin", [AuthDovecot, AuthImap])
async def test_a_dovecot_that_cannot_tell(dovecot: RealServer, plugin: type[Plugin[Any]]) -> None:
    users = dovecot.process.system.root / USERS.lstrip("/")
    users.chmod(0)  # its users are not root's
    dovecot.process.kill()
    dovecot.process.start()
    try:
        for password in (PASSWORD, "wrong"):
            assert_temporary(await log_in(plugin, line_of(plugin, dovecot), USER, password))
    finally:
        users.chmod(0o644)


async def test_slapd(slapd: RealServer) -> None:
    await one_of_each(AuthLdapBind, slapd)


# --- vpopmail in MariaDB --------------------------------------------------------------------


@pytest.fixture(scope="module", params=RELEASES)
def mariadb(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    with real_mariadb(request.param) as server:
        yield server


def vpopmail_config(more: str) -> dict[str, list[str]]:
    dsn = f"dbi:mysql:dbname={DATABASE};{more}"
    return {DSN: [dsn], DATABASE_USER: [ROLE], PASSWORD_FILE: [DATABASE_PASSWORD]}


async def vpopmail_says(more: str, user: str, password: str, line: str = "") -> Verdict | None:
    return await log_in(AuthVpopmailSql, line, user, password, config=vpopmail_config(more))


async def test_vpopmail_sql(mariadb: RealServer) -> None:
    by_tls = f"host=127.0.0.1;port={mariadb.port};mysql_ssl_ca_file={mariadb.ca}"
    for place in (f"mysql_socket={mariadb.process.place}", by_tls):
        assert await vpopmail_says(place, USER, DATABASE_PASSWORD) == accept()
        assert await vpopmail_says(place, USER.upper(), DATABASE_PASSWORD) == accept()
        assert await vpopmail_says(place, USER, "wrong") == WRONG
        assert await vpopmail_says(place, "quiet@example.test", DATABASE_PASSWORD) == WRONG
        for user in ("nobody@example.test", "'or'1'='1@example.test", "%@example.test"):
            assert await vpopmail_says(place, user, DATABASE_PASSWORD) is None
        plugin = await a_plugin(AuthVpopmailSql, "", config=vpopmail_config(place))
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert finding.severity.name == "OK", finding
        mariadb.process.kill()
        for password in (DATABASE_PASSWORD, "wrong"):
            assert_temporary(await vpopmail_says(place, USER, password), password)
        mariadb.process.start()
        assert await vpopmail_says(place, USER, DATABASE_PASSWORD) == accept()
        mariadb.process.pause()
        assert_temporary(await vpopmail_says(place, USER, DATABASE_PASSWORD, "timeout 1"))
        mariadb.process.resume()
        assert await vpopmail_says(place, USER, DATABASE_PASSWORD) == accept()


async def test_a_mariadb_that_is_not_to_be_trusted(mariadb: RealServer) -> None:
    """Its certificate is not valid, or it lets us in with TLS only, which is not asked for."""
    for more in (";mysql_ssl=1", ""):
        place = f"host=127.0.0.1;port={mariadb.port}{more}"
        assert_temporary(await vpopmail_says(place, USER, DATABASE_PASSWORD))
