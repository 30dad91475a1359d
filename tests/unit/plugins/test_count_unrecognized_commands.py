# SPDX-License-Identifier: MIT
"""The MAX-th unrecognized command of a session ends it."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, deny
from qpsmtpd.plugins.count_unrecognized_commands import CountUnrecognizedCommands
from qpsmtpd.testing import a_plugin, a_session

HANG_UP = deny("Too many unrecognized commands", status="5.5.1", disconnect=True)


@pytest.mark.parametrize(("line", "max_"), [("", 4), ("2", 2), ("max 3", 3), ("1", 1)])
async def test_hangs_up(line: str, max_: int) -> None:
    plugin = await a_plugin(CountUnrecognizedCommands, line)
    session = a_session()
    for _ in range(max_ - 1):
        assert await plugin.hook_unrecognized_command(session, "GET", "/ HTTP/1.1") is None
    assert await plugin.hook_unrecognized_command(session, "GET", "/") == HANG_UP
    assert await plugin.hook_unrecognized_command(session, "GET", "/") == HANG_UP


async def test_sessions_are_counted_apart() -> None:
    plugin = await a_plugin(CountUnrecognizedCommands, "2")
    for _ in range(3):
        assert await plugin.hook_unrecognized_command(a_session(), "X", "") is None


@pytest.mark.parametrize("line", ["0", "-1", "many"])
async def test_wrong_limits(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(CountUnrecognizedCommands, line)
