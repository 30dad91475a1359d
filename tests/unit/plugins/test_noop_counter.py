# SPDX-License-Identifier: MIT
"""noop_counter counts NOOPs in a row."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Session, Verdict, deny
from qpsmtpd.plugins.noop_counter import NoopCounter
from qpsmtpd.testing import a_plugin, a_session

HANG_UP = deny("Too many NOOPs in a row", status="5.5.0", disconnect=True)


async def noop(plugin: NoopCounter, session: Session) -> Verdict | None:
    session.commands += 1
    return await plugin.hook_noop(session, "")


@pytest.mark.parametrize(("line", "max_"), [("", 3), ("5", 5), ("max 1", 1)])
async def test_hangs_up(line: str, max_: int) -> None:
    plugin = await a_plugin(NoopCounter, line)
    session = a_session()
    assert [await noop(plugin, session) for _ in range(max_)] == [None] * (max_ - 1) + [HANG_UP]


async def test_another_command_starts_anew() -> None:
    plugin = await a_plugin(NoopCounter, "2")
    session = a_session()
    for _ in range(3):
        assert await noop(plugin, session) is None
        session.commands += 1
    assert await noop(plugin, session) is None
    assert await noop(plugin, session) == HANG_UP


async def test_sessions_are_counted_apart() -> None:
    plugin = await a_plugin(NoopCounter, "2")
    assert [await noop(plugin, a_session()) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("line", ["0", "many"])
async def test_wrong_limits(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(NoopCounter, line)
