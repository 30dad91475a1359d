# SPDX-License-Identifier: MIT
"""quit_fortune quotes its program, and waits for it no longer than it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import Verdict, accept
from qpsmtpd.plugins import quit_fortune
from qpsmtpd.plugins.quit_fortune import QuitFortune
from qpsmtpd.testing import a_plugin, a_session


async def say_quit(
    monkeypatch: pytest.MonkeyPatch, *command: str, hello: str = "helo"
) -> Verdict | None:
    monkeypatch.setattr(QuitFortune, "command", command)
    session = a_session(helo="client.example") if hello == "helo" else a_session(ehlo="c.example")
    return await (await a_plugin(QuitFortune)).hook_quit(session)


async def test_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = await say_quit(monkeypatch, "/usr/bin/printf", r"one\n\n\ttwo\n")
    assert verdict == accept("mx.example closing connection.\n  / one\n  /         two")


async def test_not_to_clients_of_ehlo(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await say_quit(monkeypatch, "/bin/echo", "one", hello="ehlo") is None
    plugin = await a_plugin(QuitFortune)
    assert await plugin.hook_quit(a_session()) is None


async def test_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await say_quit(monkeypatch, "/nonexistent") is None


async def test_a_program_that_cannot_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x7fELF junk")
    junk.chmod(0o755)
    assert await say_quit(monkeypatch, str(junk)) is None
    assert "cannot run" in caplog.text


async def test_a_program_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await say_quit(monkeypatch, "/bin/false") is None


async def test_a_program_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quit_fortune, "TIMEOUT", 0.01)
    assert await say_quit(monkeypatch, "/bin/sleep", "60") is None
    assert "no answer" in caplog.text
