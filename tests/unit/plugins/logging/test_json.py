# SPDX-License-Identifier: MIT
"""logging/json: objects, one per line."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.plugins.logging.json import Json, _members
from qpsmtpd.testing import a_plugin
from tests.unit.plugins.logging.records import a_record, a_record_of_a_fault, pass_on


async def test_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(Json)
    record = a_record(transaction="S1.1", plugin="dnsbl")
    record.created = 1_000_000_000.25
    pass_on(plugin, record)
    pass_on(plugin, a_record(level=logging.DEBUG))
    assert json.loads(capsys.readouterr().err) == {
        "time": "2001-09-09T01:46:40.250Z",
        "level": "LOGWARN",
        "pid": os.getpid(),
        "logger": "qpsmtpd.test",
        "session": "S1",
        "transaction": "S1.1",
        "plugin": "dnsbl",
        "message": "hello",
    }


async def test_file_and_rotation(tmp_path: Path) -> None:
    plugin = await a_plugin(Json, f"LOGERROR file {tmp_path}/log")
    pass_on(plugin, a_record("below"))
    pass_on(plugin, a_record_of_a_fault())
    (tmp_path / "log").rename(tmp_path / "log.1")
    plugin.reopen()
    pass_on(plugin, a_record("two", logging.ERROR))
    await plugin.stop()
    first = json.loads((tmp_path / "log.1").read_text())
    assert first["traceback"].endswith("ValueError: broken\n")
    assert json.loads((tmp_path / "log").read_text())["message"] == "two"


@given(st.text() | st.just("\udce9"))
def test_any_text_is_one_ascii_line(message: str) -> None:
    line = json.dumps(_members(a_record(message.replace("%", "%%"), plugin=message)))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message.replace("%", "%%")
