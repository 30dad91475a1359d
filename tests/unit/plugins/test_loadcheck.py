# SPDX-License-Identifier: MIT
"""loadcheck: the limit, and how long a load is believed."""

import logging
import os

import pytest

from qpsmtpd.api import defer
from qpsmtpd.plugins.loadcheck import Loadcheck
from qpsmtpd.testing import FakeClock, a_plugin, a_session

BUSY = defer("Server load too high, please try again later", status="4.3.2")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    load = [0.0, 99.0, 99.0]
    monkeypatch.setattr(os, "getloadavg", lambda: tuple(load))
    return load


@pytest.mark.parametrize(("line", "limit"), [("", 7.0), ("max_load 2.5", 2.5)])
async def test_above_the_limit_clients_are_turned_away(
    load: list[float], line: str, limit: float
) -> None:
    load[0] = limit
    assert await (await a_plugin(Loadcheck, line)).hook_connect(a_session()) is None
    load[0] = limit + 0.1
    assert await (await a_plugin(Loadcheck, line)).hook_connect(a_session()) == BUSY


@pytest.mark.parametrize(("line", "seconds"), [("", 10), ("cache_time 60", 60)])
async def test_a_load_is_believed_for_a_while(load: list[float], line: str, seconds: int) -> None:
    clock = FakeClock()
    plugin = await a_plugin(Loadcheck, line, clock=clock)
    assert await plugin.hook_connect(a_session()) is None
    load[0] = 50
    clock.advance(seconds - 1)
    assert await plugin.hook_connect(a_session()) is None
    clock.advance(1)
    assert await plugin.hook_connect(a_session()) == BUSY


async def test_an_unknown_load_turns_nobody_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> tuple[float, float, float]:
        raise OSError("not here")

    monkeypatch.setattr(os, "getloadavg", fails)
    plugin = await a_plugin(Loadcheck, "uptime /usr/bin/uptime")
    assert await plugin.hook_connect(a_session()) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
