# SPDX-License-Identifier: MIT
"""logging/warn, logging/connection_id, logging/transaction_id and logging/devnull."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from qpsmtpd.api import NOTHING, Plugin
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugins.logging.connection_id import ConnectionId
from qpsmtpd.plugins.logging.devnull import Devnull
from qpsmtpd.plugins.logging.transaction_id import TransactionId
from qpsmtpd.plugins.logging.warn import Warn
from qpsmtpd.testing import a_plugin
from tests.unit.plugins.logging.records import a_record, a_record_of_a_fault, pass_on

PID = os.getpid()


async def test_warn_writes_who_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Warn)
    pass_on(plugin, a_record(transaction="S1.1", hook="rcpt", plugin="rcpt_ok"))
    assert capsys.readouterr().err == f"{PID} S1.1 hook=rcpt plugin=rcpt_ok: hello\n"


async def test_transaction_id_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(TransactionId)
    pass_on(plugin, a_record("a\nb", transaction="S1.1"))
    pass_on(plugin, a_record("before MAIL"))
    pass_on(plugin, a_record("nobody's", session=""))
    assert capsys.readouterr().err.splitlines() == [
        f"{PID} [S1.1] a",
        f"{PID} [S1.1]     b",
        f"{PID} [S1] before MAIL",
        f"{PID} nobody's",
    ]


async def test_connection_id_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(ConnectionId)
    pass_on(plugin, a_record_of_a_fault())
    pass_on(plugin, a_record("nobody's", session=""))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{PID} [S1] hello"
    assert lines[-2:] == [f"{PID} [S1]     ValueError: broken", f"{PID} nobody's"]


@pytest.mark.parametrize("cls", [Warn, ConnectionId, TransactionId])
@pytest.mark.parametrize(
    ("line", "level"),
    [("", 30), ("LOGDEBUG", 10), ("6", 20), ("loglevel LOGERROR", 40), ("loglevel=error", 40)],
)
async def test_level(
    cls: type[Plugin[Any]], line: str, level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin: Any = await a_plugin(cls, line)
    pass_on(plugin, a_record("below", level - 1))
    assert capsys.readouterr().err == ""
    pass_on(plugin, a_record("reached", level))
    assert "reached" in capsys.readouterr().err
    assert plugin.log_level == level


@pytest.mark.parametrize("cls", [Warn, ConnectionId, TransactionId])
async def test_wrong_level(cls: type[Plugin[Any]]) -> None:
    with pytest.raises(ConfigError, match="not a log level"):
        await a_plugin(cls, "LOUD")


async def test_devnull_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Devnull)
    pass_on(plugin, a_record(level=logging.CRITICAL))
    assert capsys.readouterr() == ("", "")
    assert plugin.log_level == NOTHING
