# SPDX-License-Identifier: MIT
"""logging/file: names, time stamps, lines, rotation, commands."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest

from qpsmtpd.api import LogLevel
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugins.logging.file import MOST_FILES, File
from qpsmtpd.testing import a_plugin, a_session
from tests.unit.plugins.logging.records import a_record, a_record_of_a_fault, pass_on


async def test_line(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"loglevel LOGINFO {tmp_path}/log")
    pass_on(plugin, a_record(hook="rcpt"))
    await plugin.stop()
    line = (tmp_path / "log").read_text()
    host = re.escape(socket.gethostname())
    stamp = r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \d{4}"
    assert re.fullmatch(rf"{stamp} {host}\[{os.getpid()}\]: S1 hook=rcpt: hello\n", line)


async def test_arguments_of_the_perl_version(tmp_path: Path) -> None:
    line = f"reopen nosplit loglevel 7 tsformat %s {tmp_path}/a b  c.log"
    plugin = await a_plugin(File, line)
    options = plugin.options
    assert (options.reopen, options.nosplit, options.tsformat) == (True, True, "%s")
    assert options.loglevel is LogLevel.LOGDEBUG
    assert options.destination == f"{tmp_path}/a b c.log"


async def test_level_is_warn_by_default(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/log")
    pass_on(plugin, a_record(level=LogLevel.LOGNOTICE))
    assert not (tmp_path / "log").exists()
    assert plugin.log_level == LogLevel.LOGWARN


async def test_time_stamp_goes_with_the_record(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"tsformat %Y-%m-%d {tmp_path}/log")
    for year in (2001, 2002):
        record = a_record()
        record.created = time.mktime((year, 2, 3, 12, 0, 0, 0, 0, -1))
        pass_on(plugin, record)
    await plugin.stop()
    stamps = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert stamps == ["2001-02-03", "2002-02-03"]


@pytest.mark.parametrize(("argument", "stamps"), [("", 4), ("nosplit", 1)])
async def test_every_line_has_a_stamp_unless_nosplit(
    tmp_path: Path, argument: str, stamps: int
) -> None:
    plugin = await a_plugin(File, f"{argument} tsformat STAMP {tmp_path}/log")
    pass_on(plugin, a_record_of_a_fault())
    await plugin.stop()
    text = (tmp_path / "log").read_text()
    assert text.count("STAMP") >= stamps
    assert (text.count("STAMP") == 1) == bool(argument)
    assert text.endswith("    ValueError: broken\n")


async def test_name_follows_the_time(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/%Y.log")
    for year in (2001, 2002):
        record = a_record(str(year))
        record.created = time.mktime((year, 2, 3, 12, 0, 0, 0, 0, -1))
        pass_on(plugin, record)
    await plugin.stop()
    assert (tmp_path / "2001.log").read_text().endswith(" 2001\n")
    assert (tmp_path / "2002.log").read_text().endswith(" 2002\n")


async def test_a_file_per_session(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/%i")
    sessions = [f"S{number}" for number in range(MOST_FILES + 10)]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        for session in sessions:
            pass_on(plugin, a_record(session=session))
    pass_on(plugin, a_record(session=""))
    assert len(list(Path("/proc/self/fd").iterdir())) - descriptors == MOST_FILES
    await plugin.stop()
    assert {path.name for path in tmp_path.iterdir()} == {*sessions, "parent"}
    assert all(len((tmp_path / name).read_text().splitlines()) == 2 for name in sessions)


async def test_rotation_by_signal(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/log")
    pass_on(plugin, a_record("one"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    pass_on(plugin, a_record("two"))
    plugin.reopen()
    pass_on(plugin, a_record("three"))
    await plugin.stop()
    assert len((tmp_path / "log.1").read_text().splitlines()) == 2
    assert (tmp_path / "log").read_text().endswith(" three\n")


@pytest.mark.parametrize(("argument", "appears"), [("", False), ("reopen", True)])
async def test_reopen_for_every_session(tmp_path: Path, argument: str, appears: bool) -> None:
    plugin = await a_plugin(File, f"{argument} {tmp_path}/log")
    pass_on(plugin, a_record("one"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    await plugin.hook_pre_connection(a_session())
    pass_on(plugin, a_record("two"))
    await plugin.stop()
    assert (tmp_path / "log").exists() is appears


async def test_command(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"|tee '{tmp_path}/a b'")
    pass_on(plugin, a_record("one"))
    plugin.reopen()
    await plugin.stop()
    assert (tmp_path / "a b").read_text().endswith(" one\n")


async def test_undecodable_text_is_written_escaped(tmp_path: Path) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/log")
    pass_on(plugin, a_record("caf\udce9 é"))
    await plugin.stop()
    assert "caf\\udce9 é" in (tmp_path / "log").read_text(encoding="utf-8")


async def test_trouble_does_not_raise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = await a_plugin(File, f"{tmp_path}/missing/log")
    pass_on(plugin, a_record())
    assert "cannot log" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "loglevel LOUD /log", "|", "| tee 'x"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(File, line)
