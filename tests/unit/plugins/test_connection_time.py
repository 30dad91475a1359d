# SPDX-License-Identifier: MIT
"""connection_time logs seconds at the level it is told."""

from __future__ import annotations

import logging

import pytest

from qpsmtpd.api import ConfigError
from qpsmtpd.plugins.connection_time import ConnectionTime
from qpsmtpd.testing import FakeClock, a_plugin, a_session


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("", logging.INFO),
        ("LOGWARN", logging.WARNING),
        ("debug", logging.DEBUG),
        ("level LOGERROR", logging.ERROR),
        ("0", logging.CRITICAL),
        ("4", logging.WARNING),
        ("7", logging.DEBUG),
    ],
)
async def test_logs(line: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    session = a_session("192.0.2.7")
    clock = FakeClock(session.started + 1.5)
    plugin = await a_plugin(ConnectionTime, line, clock=clock)
    with caplog.at_level(logging.DEBUG):
        await plugin.hook_post_connection(session)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (level, "connection lasted 1.500 s. ip=192.0.2.7")
    ]


@pytest.mark.parametrize("line", ["8x", "-1", "LOGNONSENSE"])
async def test_wrong_levels(line: str) -> None:
    with pytest.raises(ConfigError, match="is not one of"):
        await a_plugin(ConnectionTime, line)
