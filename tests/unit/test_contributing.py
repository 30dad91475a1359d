# SPDX-License-Identifier: MIT
"""The plugin and the handler that CONTRIBUTING.md shows work as they stand there."""

import re
import types
from pathlib import Path

import pytest

from qpsmtpd import testing
from qpsmtpd.config.loader import load
from qpsmtpd.mail.verdict import defer
from qpsmtpd.plugins.aiosmtpd import Aiosmtpd
from qpsmtpd.testing import FakeClock, a_plugin, a_recipient, a_transaction

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def python_blocks() -> list[str]:
    """The Python code of CONTRIBUTING.md, without the indentation of lists."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```", CONTRIBUTING.read_text(), re.M | re.S)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, text in found]


def example() -> types.ModuleType:
    """The plugin's module, made of its source in the document."""
    module = types.ModuleType("quiet_hours")
    exec(compile(python_blocks()[0], "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


async def test_the_example_plugin_loads_from_a_plugin_directory(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local/quiet_hours.py").write_text(python_blocks()[0])
    (tmp_path / "plugin_dirs").write_text(f"{tmp_path}/local\n")
    (tmp_path / "plugins").write_text("quiet_hours example.test begin 23\nrcpt_ok\nqueue/discard\n")
    (tmp_path / "spool_dir").write_text(f"{tmp_path}/spool\n")

    snapshot = await load([tmp_path], {}, resolver=testing.FakeResolver())

    assert snapshot.chain.plugins[0].plugin.name == "quiet_hours"
    await snapshot.stop()


@pytest.mark.parametrize("hours", ["begin 0", "end 24"])
async def test_the_example_plugin_defers_at_night(hours: str) -> None:
    plugin = await a_plugin(example().QuietHours, f"example.test {hours}", clock=FakeClock())
    verdict = await plugin.hook_rcpt(a_transaction(), a_recipient("me@example.test"))
    assert verdict == defer("Please try again in the morning", status="4.7.1")


async def test_the_example_plugin_leaves_other_domains_alone() -> None:
    plugin = await a_plugin(example().QuietHours, "example.test begin 0")
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("me@example.org")) is None


async def test_the_example_handler_refuses_the_third_recipient(tmp_path: Path) -> None:
    (tmp_path / "site_policy.py").write_text(python_blocks()[2])
    line = "site_policy:FewRecipients limit=2"
    plugin = await a_plugin(Aiosmtpd, line, plugin_dirs=[tmp_path])
    tx = a_transaction("", "1@example.test")
    assert await plugin.hook_rcpt(tx, a_recipient("2@example.test")) is None
    tx.recipients.append(a_recipient("2@example.test"))
    verdict = await plugin.hook_rcpt(tx, a_recipient("3@example.test"))
    assert verdict == defer("Too many recipients", status="4.5.3", code=452)
    await plugin.stop()
