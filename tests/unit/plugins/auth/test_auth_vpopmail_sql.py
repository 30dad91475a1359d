# SPDX-License-Identifier: MIT
"""auth_vpopmail_sql: rows of the table, and a server in whatever state it may be."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept
from qpsmtpd.logins import WRONG, mysql
from qpsmtpd.logins.mysql import MySqlServer
from qpsmtpd.plugins.auth import auth_vpopmail_sql
from qpsmtpd.plugins.auth.auth_vpopmail_sql import DSN, PASSWORD_FILE, USER, AuthVpopmailSql
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import assert_temporary, log_in
from tests.unit.logins.fakemysql import OK, failure, fake_mysql, packet, rows
from tests.unit.logins.test_mysql import each_lie
from tests.unit.scanners.fake import SILENT, Answer

HASH = "$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF."
ROW = {"pw_name": "user", "pw_passwd": HASH, "pw_clear_passwd": "other"}


def config(place: str) -> Mapping[str, Sequence[str]]:
    host, _, port = place.rpartition(":")
    return {DSN: [f"dbi:mysql:dbname=vpopmail;host={host};port={port}"], USER: ["me"]}


async def verdict_on(password: str, *answers: Answer, more: str = "") -> Verdict | None:
    user = "User@Example.test"
    with fake_mysql(*answers) as server:
        given = await log_in(AuthVpopmailSql, more, user, password, config=config(server.place))
    said = b"".join(server.said)
    assert b"vpoppasswd" not in said and password.encode() not in said
    return given


@pytest.mark.parametrize(
    ("password", "row", "verdict"),
    [
        ("geheim", ROW, accept()),
        ("wrong", ROW, WRONG),
        ("other", ROW, WRONG),
        ("geheim", {"pw_passwd": HASH}, accept()),
        ("geheim", {"pw_passwd": None, "pw_clear_passwd": "geheim"}, accept()),
        ("geheim", {"pw_passwd": None}, WRONG),
    ],
)
async def test_log_in(password: str, row: Mapping[str, str | None], verdict: Verdict) -> None:
    assert await verdict_on(password, packet(2, OK), rows(row)) == verdict


async def test_the_query() -> None:
    with fake_mysql(packet(2, OK), rows()) as server:
        lent = config(server.place)
        assert await log_in(AuthVpopmailSql, "", "O'x@Example.test", "x1", config=lent) is None
        assert await log_in(AuthVpopmailSql, "", "user", "x1", config=lent) is None
        assert await log_in(AuthVpopmailSql, "", "a b@x.test", "x1", config=lent) is None
    query = server.said[1].decode("latin-1")
    assert len(server.said) == 2
    name, domain = (text.encode().hex() for text in ("o'x", "example.test"))
    assert f"pw_name = _utf8mb4 0x{name} AND pw_domain = _utf8mb4 0x{domain}" in query


async def test_two_users_with_one_name() -> None:
    assert_temporary(await verdict_on("geheim", packet(2, OK), rows(ROW, ROW)))


@pytest.mark.parametrize("before", range(2))
@each_lie
async def test_nonsense(lie: Answer, before: int) -> None:
    more = f"timeout {0.2 if lie == SILENT else 60}"
    answers = [*[packet(2, OK)][:before], lie]
    assert_temporary(await verdict_on("geheim", *answers, more=more), "geheim")


async def test_nobody_there(nowhere: str) -> None:
    verdict = await log_in(AuthVpopmailSql, "", "u@example.test", "x", config=config(nowhere))
    assert "refused" in assert_temporary(verdict)


async def test_a_server_elsewhere_has_to_have_tls(tmp_path: Path) -> None:
    for host, tls in (("db.example", True), ("127.0.0.1", False), ("localhost", False)):
        lent = {DSN: [f"dbi:mysql:vpopmail;host={host}"]}
        plugin = await a_plugin(AuthVpopmailSql, "", config=lent)
        assert (plugin._access.context is not None) is tls
    lent = {DSN: ["dbi:mysql:vpopmail;host=127.0.0.1;mysql_ssl=1"]}
    context = (await a_plugin(AuthVpopmailSql, "", config=lent))._access.context
    assert context is not None and context.check_hostname


async def test_without_files() -> None:
    plugin = await a_plugin(AuthVpopmailSql, "cram_md5 yes")
    assert plugin._access.server == MySqlServer("127.0.0.1", 3306, "vpopmail", "vpopmailuser")
    assert plugin._access.password == "vpoppasswd"
    assert plugin.unusable_mechanisms() == ()
    assert (await a_plugin(AuthVpopmailSql, "")).unusable_mechanisms() == ("CRAM-MD5",)


async def test_wrong_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=f"{DSN}: must be: dbi:mysql"):
        await a_plugin(AuthVpopmailSql, "", config={DSN: ["dbi:Pg:dbname=x"]})
    with pytest.raises(ConfigError, match="No such file"):
        lent = {DSN: ["dbi:mysql:x;mysql_ssl_ca_file=/none"]}
        await a_plugin(AuthVpopmailSql, "", config=lent)
    assert mysql.is_installed()
    monkeypatch.setattr(auth_vpopmail_sql, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="python3-pymysql"):
        await a_plugin(AuthVpopmailSql, "")


@pytest.mark.parametrize(("mode", "warnings"), [(0o644, 1), (0o640, 0)])
async def test_a_password_that_everybody_can_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    (tmp_path / PASSWORD_FILE).touch()
    (tmp_path / PASSWORD_FILE).chmod(mode)
    with caplog.at_level(logging.WARNING):
        await a_plugin(AuthVpopmailSql, "", config_dir=tmp_path)
    assert len(caplog.records) == warnings


async def test_examine() -> None:
    with fake_mysql(packet(2, OK), rows()) as server:
        plugin = await a_plugin(AuthVpopmailSql, "", config=config(server.place))
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "answers" in str(finding)
    with fake_mysql(packet(2, OK), failure(1, 1146, b"no table")) as server:
        plugin = await a_plugin(AuthVpopmailSql, "", config=config(server.place))
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "no table" in str(finding)
