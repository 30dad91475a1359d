# SPDX-License-Identifier: MIT
"""virus/command: programs, their exit status and their output."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, Decision, Transaction, Verdict
from qpsmtpd.plugins.virus.command import VirusCommand
from qpsmtpd.testing import FakeSystem, a_plugin, a_transaction, findings_of
from tests.unit.scripts import a_script

MESSAGE = "From: a@b.example\n\nHello.\n"


async def run(
    tmp_path: Path, script: str, options: str = "", arguments: str = ""
) -> tuple[Verdict | None, Transaction]:
    """What a message leads to if the program is this script."""
    program = a_script(tmp_path / "scan", script)
    line = f"{options} {program} {arguments}"
    plugin = await a_plugin(VirusCommand, line, spool_dir=tmp_path)
    tx = a_transaction(message=MESSAGE)
    return await plugin.hook_data_post(tx), tx


@pytest.mark.parametrize(
    ("script", "options", "virus"),
    [
        ("exit 0", "", None),
        ("exit 1", "", "unknown"),
        ("echo Found X.1 in it; exit 13", r"infected=2,13 name=Found\s+(\S+)", "X.1"),
        ("echo nothing; exit 13", r"infected=2,13 name=Found\s+(\S+)", "unknown"),
        ("echo INFECTED by Y; exit 0", r"found=/infected/ name=by\s(\S+)", "Y"),
        ("echo all well; exit 0", r"found=/infected/", None),
        ("exit 7", "clean=0,7", None),
    ],
)
async def test_what_it_says(tmp_path: Path, script: str, options: str, virus: str | None) -> None:
    verdict, tx = await run(tmp_path, script, options)
    assert (verdict and verdict.text) == (virus and f"Virus found: {virus}")
    assert verdict is None or verdict.decision is Decision.DENY
    assert tx.session.karma == (-1 if virus else 0)


@pytest.mark.parametrize("script", ["exit 2", "kill -9 $$", "echo infected; exit 3"])
@pytest.mark.parametrize("option", ["", "on_error=pass"])
async def test_failures(tmp_path: Path, script: str, option: str) -> None:
    verdict, _ = await run(tmp_path, script, f"found=infected {option}")
    assert (verdict and (verdict.decision, verdict.code)) == (
        None if option else (Decision.DEFER, 451)
    )


@pytest.mark.parametrize("argument", ["", "-", "{}"])
async def test_what_it_reads(tmp_path: Path, argument: str) -> None:
    copy = tmp_path / "copy"
    source = '"$2"' if argument == "{}" else "-"
    verdict, _ = await run(tmp_path, f"cat {source} >{copy}", arguments=f"--reject {argument}")
    assert verdict is None
    assert copy.read_bytes() == MESSAGE.replace("\n", "\r\n").encode()
    assert not list(tmp_path.glob("scratch-*"))


async def test_a_hanging_program_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    verdict, _ = await run(tmp_path, f"echo $$ >{pid}; exec sleep 600", "timeout=0.5")
    assert verdict is not None
    assert "took too long" in verdict.reason
    assert not Path("/proc", pid.read_text().strip()).exists()


async def test_only_marked(tmp_path: Path) -> None:
    verdict, tx = await run(tmp_path, "exit 1", "action=add-header")
    assert verdict is None
    tx.put_fields_on_top()
    assert tx.message is not None
    assert tx.message.headers.names() == ["X-Virus-Found", "X-Virus-Details", "From"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "command.* is required"),
        ("scan", "absolute path"),
        ("name=( /bin/scan", "regular expression"),
        ("clean=0,1 /bin/scan", "1 cannot mean both"),
        ("clean=256 /bin/scan", "too big"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(VirusCommand, line)


async def test_doctor(tmp_path: Path) -> None:
    a_script(tmp_path / "good", "")
    [finding] = await findings_of(await a_plugin(VirusCommand, "/good x"), FakeSystem(tmp_path))
    assert finding.text == "can be run"
