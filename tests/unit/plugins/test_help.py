# SPDX-License-Identifier: MIT
"""help finds the text of a command, and no other file."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept, deny
from qpsmtpd.plugins.help import Help
from qpsmtpd.testing import a_plugin, a_session


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "help" / "sub").mkdir(parents=True)
    (tmp_path / "help" / "rset").write_text("RSET forgets\nthe transaction.\n")
    (tmp_path / "other.txt").write_text("other text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def ask(topic: str, line: str = "") -> Verdict | None:
    return await (await a_plugin(Help, line)).hook_help(a_session(), topic)


async def test_default_directory(directory: Path) -> None:
    assert await ask("RSET") == accept("RSET forgets\nthe transaction.")
    assert await ask("rset") == accept("RSET forgets\nthe transaction.")


@pytest.mark.parametrize("topic", ["mail", "sub", "other"])
async def test_nothing_known(directory: Path, topic: str) -> None:
    assert await ask(topic) == accept(f"There is no help for {topic.upper()}")


async def test_how_to_ask() -> None:
    assert await ask("") == accept("Send HELP and the name of a command")


@pytest.mark.parametrize("topic", ["../other.txt", "a b", "m\xe4il", "."])
async def test_no_commands(directory: Path, topic: str) -> None:
    assert await ask(topic) == deny("That is not the name of a command", status="5.5.4", code=502)


async def test_not_implemented() -> None:
    refused = deny("HELP is not implemented", status="5.5.1", code=502)
    assert await ask("", "not_implemented 1") == refused
    assert await ask("RSET", "not_implemented 1") == refused


@pytest.mark.parametrize("pair", ["MAIL other.txt", "mail other.txt", "file MAIL=other.txt"])
async def test_named_files(directory: Path, pair: str) -> None:
    assert await ask("mail", pair) == accept("other text")
    assert await ask("rset", pair) == accept("There is no help for RSET")
    assert await ask("rset", f"help_dir help {pair}") == accept("RSET forgets\nthe transaction.")


async def test_files_of_the_configuration_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    plugin = await a_plugin(Help, "help_dir help", config_dir=directory)
    verdict = await plugin.hook_help(a_session(), "rset")
    assert verdict == accept("RSET forgets\nthe transaction.")


async def test_without_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert await ask("rset") == accept("There is no help for RSET")


@pytest.mark.parametrize("line", ["help_dir /nonexistent", "MAIL /nonexistent"])
async def test_missing_files(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^/nonexistent: cannot be read \(No such file"):
        await a_plugin(Help, line)


@pytest.mark.parametrize("line", ["MAIL", "file MAIL", "help_dir", "not_implemented maybe"])
async def test_wrong_options(directory: Path, line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Help, line)
