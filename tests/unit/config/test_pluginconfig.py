# SPDX-License-Identifier: MIT
"""The configuration as plugins see it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginconfig import PluginConfig
from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Recipient
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.chain import ChainedPlugin
from qpsmtpd.plugin.options import NoOptions
from qpsmtpd.testing import a_recipient, services


class Supplier(Plugin[NoOptions]):
    """Knows some files; breaks on others."""

    async def hook_config(self, name: str) -> Sequence[str] | None:
        if name == "broken":
            raise RuntimeError(name)
        if name == "slow":
            await asyncio.Event().wait()
        return {"badhelo": ["from", "plugin"], "empty": []}.get(name)

    async def hook_user_config(self, recipient: Recipient, name: str) -> Sequence[str] | None:
        return ["hers"] if str(recipient.address) == "user@example.test" else None


def a_config(tmp_path: Path, *plugins: Plugin[Any], **treatment: Any) -> PluginConfig:
    for name in ("badhelo", "empty", "broken", "slow", "other"):
        (tmp_path / name).write_text("from\nfile\n")
    config = PluginConfig(ConfigFiles([tmp_path]))
    for plugin in plugins:
        config.add(ChainedPlugin(plugin, where="plugins:7", **treatment))
    return config


def supplier() -> Supplier:
    return Supplier("supplier", NoOptions(), services())


async def test_files_without_plugins(tmp_path: Path) -> None:
    config = a_config(tmp_path, Plugin("other", NoOptions(), services()))
    assert [str(entry) for entry in await config.entries("badhelo")] == ["from", "file"]
    assert (await config.entries("badhelo"))[1].where == f"{tmp_path}/badhelo:2"
    assert await config.value("badhelo") == "from"
    assert await config.value("missing", "x") == "x"
    assert await config.mapping("badhelo") == {}


async def test_a_plugin_comes_before_the_files(tmp_path: Path) -> None:
    config = a_config(tmp_path, supplier())
    assert await config.lines("badhelo") == ["from", "plugin"]
    assert (await config.entries("badhelo"))[1].where == "badhelo of plugin supplier:2"
    assert await config.lines("empty") == []
    assert await config.lines("other") == ["from", "file"]


async def test_a_fault_is_no_empty_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = a_config(tmp_path, supplier())
    with pytest.raises(ConfigError, match=r"plugins:7: plugin supplier failed .* broken"):
        await config.lines("broken")
    assert "fault hook=config plugin=supplier file=broken" in caplog.text


async def test_a_timeout_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        await a_config(tmp_path, supplier(), timeout=0.001).lines("slow")


async def test_on_fault_skip_goes_on_to_the_file(tmp_path: Path) -> None:
    config = a_config(tmp_path, supplier(), skip_faults=True)
    assert await config.lines("broken") == ["from", "file"]


async def test_user_config(tmp_path: Path) -> None:
    config = a_config(tmp_path, supplier())
    assert await config.user_config(a_recipient(), "badhelo") == ["hers"]
    assert await config.user_config(a_recipient("b@example.test"), "badhelo") == ["from", "plugin"]
    assert await config.user_config(a_recipient("b@example.test"), "other") == ["from", "file"]


async def test_a_file_is_read_once_and_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    octets = Path.read_bytes

    def read(path: Path) -> bytes:
        threads.append(threading.get_ident())
        return octets(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    config = a_config(tmp_path)
    assert await config.lines("other") == await config.lines("other") == ["from", "file"]
    (thread,) = threads
    assert thread != threading.get_ident()
