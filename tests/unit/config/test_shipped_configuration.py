# SPDX-License-Identifier: MIT
"""The configuration files that we ship (etc/qpsmtpd)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import load
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import read_plugin_lines
from qpsmtpd.testing import FakeResolver

SHIPPED = Path(__file__).parents[3] / "etc" / "qpsmtpd"

#: dpkg's list of configuration files, the same as that of the Perl version.
CONFFILES = {
    "badhelo",
    "badmailfrom",
    "badrcptto",
    "dnsbl_zones",
    "logging",
    "loglevel",
    "plugin_dirs",
    "plugins",
    "rcpthosts",
    "relayclients",
    "rhsbl_zones",
    "spool_dir",
}

#: The chain that Debian's default has always been, by today's names.
CHAIN = [
    "logging/file",
    "earlytalker",
    "relay",
    "rhsbl",
    "dnsbl",
    "helo",
    "badmailfrom",
    "badrcptto",
    "loop",
    "rcpt_ok",
    "verify_recipients",
]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The files as the package installs them, with what debconf decides."""
    for file in SHIPPED.iterdir():
        text = file.read_text().replace("/etc/qpsmtpd/", f"{tmp_path}/")
        (tmp_path / file.name).write_text(text.replace("/var/log/qpsmtpd", str(tmp_path)))
    (tmp_path / "debian-queue-method").write_text(f"queue/maildir {tmp_path}/Maildir\n")
    (tmp_path / "debian-rcpthosts").write_text("example.com\nexample.org\n")
    return tmp_path


def test_files() -> None:
    assert {file.name for file in SHIPPED.iterdir()} == CONFFILES


async def test_they_load_without_problems(installed: Path) -> None:
    snapshot = await load([installed], {}, resolver=FakeResolver(), check_only=True)
    await snapshot.stop()
    assert snapshot.warnings == ()
    assert [c.plugin.name for c in snapshot.chain.plugins] == [*CHAIN, "queue/maildir"]
    assert await snapshot.services.config.lines("rcpthosts") == ["example.com", "example.org"]
    assert snapshot.settings.spool_dir == Path("/var/spool/qpsmtpd")
    assert snapshot.settings.loglevel == "6"


@pytest.mark.parametrize("name", ["badhelo", "badmailfrom", "badrcptto", "dnsbl_zones"])
def test_nothing_is_refused_by_name(name: str) -> None:
    assert ConfigFiles([SHIPPED]).lines(name) == []


def test_the_plugins_in_comments_exist(installed: Path) -> None:
    """Lines like `#tls`, without a blank, are there to be uncommented."""
    text = (installed / "plugins").read_text()
    examples = re.findall(r"(?m)^#(\S.*)$", text)
    assert "count_unrecognized_commands 4" in examples
    (installed / "plugins").write_text(re.sub(r"(?m)^#(?=\S)", "", text))
    lines = read_plugin_lines(ConfigFiles([installed]), PluginFinder())
    assert lines.problems == []
    assert len(lines.plugins) == len(CHAIN) + len(examples)
