# SPDX-License-Identifier: MIT
"""auth_ldap_bind: found and bound is right, and only what speaks of the password makes it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept
from qpsmtpd.logins import directory as directories
from qpsmtpd.plugins.auth.auth_ldap_bind import FILE, AuthLdapBind
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import (
    PASSWORD,
    SILENT,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.logins.fakedirectory import (
    BASE,
    BIND,
    EXTENDED,
    NAME,
    SEARCH,
    FakeDirectory,
    directory,
    tlv,
)
from tests.unit.scanners.fake import Answer

#: Of the line: it is never reached.
TIMEOUT = "ldap_timeout 60"


async def ask(server: FakeDirectory, more: str = "", **options: Any) -> Verdict | None:
    return await log_in(AuthLdapBind, f"{server.place} {TIMEOUT} {more}", **options)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_right(mechanism: str) -> None:
    async with directory([0]) as server:
        assert await ask(server, user="User@Example.test", mechanism=mechanism) == accept()
    search, bind = (r for r in server.requests if r[5] in (SEARCH, BIND))
    assert b"\xa3\x0b\4\3uid\4\4user" in search
    assert tlv(4, NAME) + tlv(0x80, PASSWORD.encode()) in bind


@pytest.mark.parametrize("code", [48, 49])
async def test_wrong_password(code: int) -> None:
    async with directory([code]) as server:
        assert await ask(server) is None


async def test_unknown_user() -> None:
    async with directory(entries=0) as server:
        assert await ask(server) is None
    assert BIND not in [request[5] for request in server.requests]


@pytest.mark.parametrize(
    ("codes", "entries", "found"),
    [
        ([51], 1, 0),
        ([52], 1, 0),
        ([53], 1, 0),
        ([80], 1, 0),
        ([10], 1, 0),
        ([0], 2, 0),
        ([0], 1, 4),
        ([0], 0, 32),
        ([0], 0, 50),
        ([0], 1, 52),
    ],
)
async def test_other_results(codes: list[int], entries: int, found: int) -> None:
    async with directory(codes, entries=entries, found=found) as server:
        assert_temporary(await ask(server))


async def test_a_name_is_no_filter() -> None:
    async with directory(entries=0) as server:
        assert await ask(server, user="*)(uid=\\") is None
    [search] = [r for r in server.requests if r[5] == SEARCH]
    assert tlv(4, b"uid") + tlv(4, b"*)(uid=\\") in search


async def test_whole_names_and_who_searches(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("searching\n")
    (tmp_path / "password").chmod(0o600)
    config = {
        FILE: [
            "ldap_whole_name yes",
            "ldap_auth_filter_attr mail",
            "ldap_bind_dn cn=Mail Server,dc=test",
            f"ldap_password_file {tmp_path}/password",
        ]
    }
    async with directory([0, 0]) as server:
        assert await ask(server, config=config) == accept()
        server.codes = [49]
        assert_temporary(await ask(server, config=config), "searching")
    bind, search = (r for r in server.requests[:2])
    assert tlv(4, b"cn=Mail Server,dc=test") + tlv(0x80, b"searching") in bind
    assert tlv(4, b"mail") + tlv(4, b"user@example.test") in search


@each_lie
async def test_nonsense(lie: Answer) -> None:
    async with fake_back_end(b"", lie, ends=(b"",)) as server:
        host, _, port = server.place.partition(":")
        line = (
            f"ldap_host {host} ldap_port {port} {BASE} ldap_timeout {0.3 if lie == SILENT else 20}"
        )
        assert_temporary(await log_in(AuthLdapBind, line))


async def test_nobody_there(nowhere: str) -> None:
    host, _, port = nowhere.partition(":")
    assert_temporary(await log_in(AuthLdapBind, f"ldap_host {host} ldap_port {port} {BASE}"))


@pytest.mark.parametrize("mode", ["require", "verify"])
async def test_no_password_without_tls(mode: str) -> None:
    async with directory([0]) as server:
        assert_temporary(await ask(server, f"ldap_tls {mode}"))
        assert [request[5] for request in server.requests] == [EXTENDED]


@each_unreadable
async def test_names_and_passwords_that_nobody_has(text: str) -> None:
    async with directory([0]) as server:
        assert await ask(server, user=text) is None
        assert await ask(server, password=text) is None
        assert not server.requests


@pytest.mark.parametrize(
    ("line", "file", "problem"),
    [
        ("", [], "needs ldap_base"),
        (BASE, ["ldap_hots x"], "ldap:1: "),
        (f"{BASE} ldap_auth_filter_attr a)(b", [], "attribute"),
        (f"{BASE} ldap_bind_dn cn=x", [], "each needs the other"),
        (f"{BASE} ldap_bind_dn cn=x ldap_password_file /none", [], "No such file"),
    ],
)
async def test_wrong_lines(line: str, file: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace(")", r"\)")):
        await a_plugin(AuthLdapBind, line, config={FILE: file})


async def test_spaces_in_the_base() -> None:
    plugin = await a_plugin(AuthLdapBind, config={FILE: ["ldap_base ou=My People,dc=test"]})
    assert plugin.options.ldap_base == "ou=My People,dc=test"
    assert plugin.options.ldap_host == "127.0.0.1"


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="python3-ldap3"):
        await a_plugin(AuthLdapBind, BASE)


async def test_examine() -> None:
    async with directory(entries=0) as server:
        plugin = await a_plugin(AuthLdapBind, f"{server.place} {TIMEOUT}")
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "answers searches" in str(finding)
        server.found = 32
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "code 32" in str(finding)
