# SPDX-License-Identifier: MIT
"""rcpt_ldap: only a search that finds nothing makes a recipient unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import ConfigError
from qpsmtpd.logins import directory as directories
from qpsmtpd.plugins.rcpt_ldap import FILE, RcptLdap
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import each_lie, fake_back_end
from tests.unit.logins.fakedirectory import BASE, BIND, EXTENDED, SEARCH, directory, tlv
from tests.unit.recipients.asking import LATER, NO, NOBODY, OURS, USER, reply
from tests.unit.scanners.fake import SILENT, Answer


async def ask(line: str, address: str = USER, file: list[str] | None = None) -> str:
    config = {**OURS, FILE: file or []}
    return await reply(await a_plugin(RcptLdap, line, config=config), address)


async def test_known() -> None:
    async with directory(entries=1) as server:
        assert await ask(server.place) == ""
    [search] = [request for request in server.requests if request[5] == SEARCH]
    assert tlv(4, b"mail") + tlv(4, b"user@example.test") in search


async def test_unknown() -> None:
    async with directory(entries=0) as server:
        assert await ask(server.place, NOBODY) == NO


async def test_several_entries_are_known() -> None:
    async with directory(entries=2, found=4) as server:
        assert await ask(server.place) == ""


@pytest.mark.parametrize("code", [1, 3, 4, 10, 11, 32, 34, 50, 51, 52, 53, 80])
async def test_other_results(code: int) -> None:
    """No such base (32) and no right to search (50) are not "no such user"."""
    async with directory(entries=0, found=code) as server:
        assert await ask(server.place, NOBODY) == LATER


async def test_an_address_is_no_filter() -> None:
    async with directory(entries=0) as server:
        assert await ask(server.place, '"*)(mail=\\\\"@example.test') == NO
    [search] = [request for request in server.requests if request[5] == SEARCH]
    assert tlv(4, b"*)(mail=\\@example.test") in search


async def test_options_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("searching\n")
    (tmp_path / "password").chmod(0o600)
    file = [
        "ldap_base ou=My People,dc=test",
        "ldap_filter (& (uid=%u) (dc=%d))",
        "ldap_bind_dn cn=Mail Server,dc=test",
        f"ldap_password_file {tmp_path}/password",
        "on_error pass",
    ]
    async with directory([0, 49], entries=0) as server:
        place = server.place.removesuffix(BASE)
        assert await ask(place, NOBODY, file) == NO
        assert await ask(place, NOBODY, file) == ""
    bind, search = server.requests[:2]
    assert bind[5] == BIND
    assert tlv(4, b"cn=Mail Server,dc=test") + tlv(0x80, b"searching") in bind
    assert b"ou=My People,dc=test" in search
    assert tlv(4, b"uid") + tlv(4, b"nobody") in search
    assert tlv(4, b"dc") + tlv(4, b"example.test") in search


@each_lie
async def test_nonsense(lie: Answer) -> None:
    async with fake_back_end(b"", lie, ends=(b"",)) as server:
        host, _, port = server.place.partition(":")
        line = f"ldap_host {host} ldap_port {port} {BASE} timeout {0.3 if lie == SILENT else 20}"
        assert await ask(line) == LATER


async def test_nobody_there(nowhere: str) -> None:
    host, _, port = nowhere.partition(":")
    assert await ask(f"ldap_host {host} ldap_port {port} {BASE}") == LATER


@pytest.mark.parametrize("mode", ["require", "verify"])
async def test_nothing_without_tls(mode: str) -> None:
    async with directory() as server:
        assert await ask(f"{server.place} ldap_tls {mode}") == LATER
        assert [request[5] for request in server.requests] == [EXTENDED]


@pytest.mark.parametrize(
    ("line", "file", "problem"),
    [
        ("", [], "needs ldap_base"),
        (BASE, ["ldap_hots x"], "rcpt_ldap:1: "),
        (BASE, ["ldap_filter mail=%s"], r"rcpt_ldap:1: ldap_filter: .*RFC 4515"),
        (f"{BASE} ldap_filter (mail=x)", [], "RFC 4515"),
        (f"{BASE} ldap_bind_dn cn=x", [], "each needs the other"),
        (f"{BASE} ldap_bind_dn cn=x ldap_password_file /none", [], "No such file"),
    ],
)
async def test_wrong_lines(line: str, file: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(RcptLdap, line, config={FILE: file})


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="python3-ldap3"):
        await a_plugin(RcptLdap, BASE)


async def test_examine() -> None:
    async def findings(line: str) -> Any:
        return await findings_of(await a_plugin(RcptLdap, line), FakeSystem(Path("/")))

    async with directory(entries=0) as server:
        [finding] = await findings(server.place)
        assert "answers" in str(finding)
        [finding] = await findings(f"{server.place} canary {USER}")
        assert "does not have user@example.test" in str(finding)
        server.found = 32
        [finding] = await findings(server.place)
        assert "code 32" in str(finding)
