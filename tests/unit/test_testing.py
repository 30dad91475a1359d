# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/testing.py, where no other test would notice a fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.options import opt
from qpsmtpd.testing import FakeConfig, a_plugin, a_recipient, a_transaction, give_body


async def test_give_body() -> None:
    tx = a_transaction(message="Subject: x\n\nabcde\n")
    heard: list[bytes] = []
    plugin = await a_plugin(Plugin)
    tx.tap(plugin, heard.append)
    give_body(tx, 3)
    assert heard == [b"abc", b"de\r", b"\n"]
    with pytest.raises(RuntimeError):
        tx.tap(plugin, heard.append)


def test_where_the_envelope_may_change() -> None:
    assert a_transaction("a@example.com", "b@example.test").envelope_changeable
    assert a_transaction(message="").envelope_changeable
    assert not a_transaction().envelope_changeable


@dataclass(frozen=True)
class TheOptions:
    file: Path = opt(Path("named"), doc="A file.")


class Reader(Plugin[TheOptions]):
    """Has a file, a database, and one that its option names."""

    files = {"quotas": "How much a user may send.", "partners.cdb": "Domains of partners."}


async def test_a_plugin_reads_what_it_declares() -> None:
    config = (await a_plugin(Reader, config={"quotas": ["1"], "named": ["2"]})).services.config
    assert await config.lines("quotas") == ["1"]
    assert await config.value("named") == "2"
    assert await config.user_config(a_recipient(), "quotas") == ["1"]
    assert await config.mapping("partners") == {}


async def test_a_plugin_that_reads_more_is_found() -> None:
    config = (await a_plugin(Reader)).services.config
    for reading in (
        config.entries("quota"),
        config.lines("partners"),
        config.value("me"),
        config.mapping("quotas"),
        config.user_config(a_recipient(), "other"),
    ):
        with pytest.raises(AssertionError, match="which is not in its `files`"):
            await reading


async def test_without_a_plugin_everything_can_be_read(tmp_path: Path) -> None:
    config = FakeConfig({"x": ["1"]}, tmp_path)
    assert await config.lines("x") == ["1"]
    assert config.path("map") == tmp_path / "map"
    assert config.asked == {"x"}
