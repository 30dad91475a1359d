# SPDX-License-Identifier: MIT
"""auth_vpopmaild: +OK lets in, -ERR asks the next plugin, anything else is a 454."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, accept
from qpsmtpd.plugins.auth.auth_vpopmaild import AuthVpopmaild
from qpsmtpd.testing import FakeSystem, a_plugin, findings_of
from tests.unit.logins.fake import (
    SILENT,
    assert_temporary,
    each_lie,
    each_unreadable,
    fake_back_end,
    log_in,
)
from tests.unit.scanners.fake import Answer

GREETING = b"+OK\r\n"


def line_for(place: str, more: str = "") -> str:
    return "host {} port {} {}".format(*place.split(":"), more)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_right(mechanism: str) -> None:
    async with fake_back_end(GREETING, b"+OK+\r\nvpopmail_dir /x\r\n.\r\n") as server:
        verdict = await log_in(
            AuthVpopmaild, line_for(server.place), password="sécret", mechanism=mechanism
        )
    assert verdict == accept()
    assert server.said == "login user@example.test sécret\r\n".encode()


async def test_wrong() -> None:
    async with fake_back_end(GREETING, b"-ERR 0x0101 no\r\n") as server:
        assert await log_in(AuthVpopmaild, line_for(server.place), password="x") is None


@pytest.mark.parametrize(("user", "password"), [("a b", "c"), ("a", "b c"), ("a", " ")])
async def test_spaces_cannot_be_said(user: str, password: str) -> None:
    async with fake_back_end(GREETING, b"+OK\r\n") as server:
        assert await log_in(AuthVpopmaild, line_for(server.place), user, password) is None
        assert server.clients == 0


@pytest.mark.parametrize(
    "answers",
    [[b"-ERR busy\r\n"], [GREETING, b"sesame\r\n"], [GREETING, b"+OKAY\r\n"], [GREETING * 2]],
)
async def test_no_sensible_answer(answers: Sequence[bytes]) -> None:
    async with fake_back_end(*answers) as server:
        verdict = await log_in(AuthVpopmaild, line_for(server.place), password="sesame")
        assert_temporary(verdict, "sesame")


@pytest.mark.parametrize("before", range(2))
@each_lie
async def test_nonsense(lie: Answer, before: int) -> None:
    async with fake_back_end(*[GREETING][:before], lie) as server:
        more = f"timeout {0.2 if lie == SILENT else 60}"
        assert_temporary(await log_in(AuthVpopmaild, line_for(server.place, more), password="x"))


async def test_nobody_there(nowhere: str) -> None:
    verdict = await log_in(AuthVpopmaild, line_for(nowhere), password="x")
    assert "refused" in assert_temporary(verdict)


@each_unreadable
async def test_names_and_passwords_that_nobody_has(text: str) -> None:
    async with fake_back_end(GREETING) as server:
        assert await log_in(AuthVpopmaild, line_for(server.place), text, "x") is None
        assert await log_in(AuthVpopmaild, line_for(server.place), "x", text) is None
        assert server.clients == 0


async def test_wrong_lines() -> None:
    with pytest.raises(ConfigError):
        await a_plugin(AuthVpopmaild, "host /run/x")


async def test_examine() -> None:
    async with fake_back_end(GREETING) as server:
        plugin = await a_plugin(AuthVpopmaild, line_for(server.place))
        [finding] = await findings_of(plugin, FakeSystem(Path("/")))
        assert "answers: vpopmaild" in str(finding)
