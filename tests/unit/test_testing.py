# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/testing.py, where no other test would notice a fault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.options import NoOptions, opt
from qpsmtpd.plugin.system import Obstacle, Output, System
from qpsmtpd.testing import (
    FakeConfig,
    FakeSystem,
    a_plugin,
    a_recipient,
    a_transaction,
    findings_of,
    give_body,
)


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


class Plain(Plugin[NoOptions]):
    def examine(self, system: System) -> Iterator[Finding]:
        yield Finding.ok(system.user, str(system.exists("/etc/x")))


class Async(Plugin[NoOptions]):
    async def examine(self, system: System) -> AsyncIterator[Finding]:
        yield Finding.ok(system.user, str(system.exists("/etc/x")))


@pytest.mark.parametrize("cls", [Plain, Async])
async def test_findings_of_either_kind(cls: type[Plugin[NoOptions]], tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    assert await findings_of(await a_plugin(cls), system) == [Finding.ok("qpsmtpd", "False")]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x").write_text("hello")
    assert await findings_of(await a_plugin(cls), system) == [Finding.ok("qpsmtpd", "True")]


def test_fake_system(tmp_path: Path) -> None:
    system: System = FakeSystem(tmp_path)
    assert (system.read("/x"), system.status("/x"), system.run("x")) == ("", None, None)
    assert system.existing("/a/b") == Path("/")
    assert not system.runnable("/x")
    assert system.account is not None
    assert system.group_name(7) == "group7"
    assert not (system.confinement("/x") or system.set_id_problem("/x") or system.trusting("x"))
    assert system.running_groups() is None


def test_fake_system_with_something_in_it(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path, account=None)
    system.path("/x").write_text("hello")
    system.path("/x").chmod(0o755)
    system.outputs["x -v"] = "1.0"
    denied = system.obstacles["/x"] = Obstacle(Path("/x"), "denied", "no")
    system.listening.add(("192.0.2.1", 25))
    assert (system.user, system.read("/x"), system.runnable("/x")) == ("qpsmtpd", "hello", True)
    assert system.status("/x") == (tmp_path / "x").stat()
    assert system.run("x", "-v") == Output(0, "1.0")
    assert system.obstacle("/x", 4) is denied
    assert [system.listens(f"192.0.2.{n}", 25) for n in (1, 2)] == ["192.0.2.1:25", ""]
