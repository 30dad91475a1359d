# SPDX-License-Identifier: MIT
"""rcpt_socketmap: what the server is asked, and what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError
from qpsmtpd.plugins.rcpt_socketmap import RcptSocketmap
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.socketmap_server import socketmap_server
from tests.unit.client import on_both_loops
from tests.unit.recipients.asking import LATER, NO, NOBODY, OURS, USER, reply
from tests.unit.scanners.fake import NONSENSE, SILENT, Answer, Early, fake_scanner


async def asker(line: str) -> RcptSocketmap:
    return await a_plugin(RcptSocketmap, line, config=OURS)


@on_both_loops
async def test_known_and_unknown() -> None:
    async with socketmap_server({USER: "x"}) as server:
        plugin = await asker(f"{server.place} users")
        assert await reply(plugin, "USER@Example.test") == ""
        assert await reply(plugin, NOBODY) == NO
    assert server.asked == [f"users {USER}", f"users {NOBODY}"]


async def test_a_unix_socket_and_several_keys(tmp_path: Path) -> None:
    async with socketmap_server({"@example.test": ""}, path=tmp_path / "s") as server:
        plugin = await asker(f"{server.place} users delimiter + catch_all yes")
        assert await reply(plugin, "a+b@example.test") == ""
    assert server.asked == ["users a+b@example.test", "users a@example.test", "users @example.test"]


@pytest.mark.parametrize("said", ["TEMP down", "TIMEOUT ", "PERM no such map"])
async def test_what_the_server_cannot_tell(said: str) -> None:
    async with socketmap_server({}) as server:
        server.instead = said
        assert await reply(await asker(f"{server.place} users"), NOBODY) == LATER


#: Besides what nobody says on purpose: replies that are cut off, too long, or without the comma.
LIES: list[Answer] = [
    *NONSENSE,
    *(b"9:NOTFOUN,", b"9:NOTFOUND", b"9:NOTFOUND ;", b"99999:NOTFOUND ,", b"100001:OK ", b"4:OK x"),
    *(b"0:,", b"-9:NOTFOUND ,", b" 9:NOTFOUND ,"),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie)[:30])
async def test_nonsense(lie: Answer) -> None:
    async with fake_scanner(lambda request: request.endswith(b","), lie) as server:
        seconds = 0.3 if lie == SILENT or isinstance(lie, Early) else 20
        plugin = await asker(f"{server.place} users timeout {seconds}")
        assert await reply(plugin, NOBODY) == LATER


async def test_the_second_server_stands_in(nowhere: str) -> None:
    async with socketmap_server({USER: ""}) as server:
        plugin = await asker(f"{nowhere},{server.place} users")
        assert await reply(plugin, USER) == ""
        assert await reply(plugin, NOBODY) == NO


async def test_death_and_return(tmp_path: Path) -> None:
    path = tmp_path / "s"
    plugin = await asker(f"{path} users negative 0")
    clock = plugin.services.clock
    for _ in range(2):
        async with socketmap_server({USER: ""}, path=path):
            assert await reply(plugin, NOBODY) == NO
        path.unlink(missing_ok=True)
        assert await reply(plugin, NOBODY) == LATER
        clock.advance(60)  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", ["", "/run/x", "x users", "/run/x a\tb c", "/run/x é"])
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await asker(line)


async def test_examine(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    async with socketmap_server({USER: ""}, path=tmp_path / "s") as server:
        found = await findings_of(await asker("/s users"), system)
        found += await findings_of(await asker(f"/s users canary {NOBODY}"), system)
        assert [finding.severity.name for finding in found] == ["OK", "ERROR"]
        server.instead = "PERM no such map"
        [finding] = await findings_of(await asker("/s users"), system)
        assert "no such map" in str(finding)
