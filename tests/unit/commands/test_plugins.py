# SPDX-License-Identifier: MIT
"""What `qpsmtpd plugins` shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qpsmtpd.commands.plugins import chain_table, plugin_manual
from qpsmtpd.config.pluginlines import CommonOptions, PluginLine
from qpsmtpd.mail.session import Session
from qpsmtpd.mail.verdict import Verdict
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.options import NoOptions, Seconds, opt
from qpsmtpd.plugin.system import System
from qpsmtpd.plugins.queue.discard import Discard


@dataclass(frozen=True)
class TheOptions:
    host: str = opt(doc="Where it is.", positional=True)
    wait: Seconds = opt(Seconds(60), least=1, doc="How long.")
    quick: bool = opt(False, doc="Faster.", flag=True)
    loglevel: str = opt("", doc="Its own.")


class Shown(Plugin[TheOptions]):
    """A plugin to be shown."""

    after = ("relay", "auth/*")
    needs = ("relay",)
    files = {"quotas": "How much a user may send.", "partners.cdb": "Domains of partners."}

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether somebody answers."""
        yield Finding.ok("x", "y")

    async def hook_helo(self, session: Session, host: str) -> Verdict | None: ...

    hook_ehlo = hook_helo


def test_chain_table() -> None:
    lines = [
        PluginLine("/etc/plugins:1", "shown:1", Shown, None, CommonOptions()),
        PluginLine("/etc/plugins:22", "idle", Plugin, None, CommonOptions()),
    ]
    assert list(chain_table(lines)) == [
        "LINE        PLUGIN   HOOKS",
        "plugins:1   shown:1  helo, ehlo",
        "plugins:22  idle     -",
    ]


def test_manual_of_a_plugin() -> None:
    text = "\n".join(plugin_manual(Shown))
    assert text.startswith(__doc__ or "")
    assert (
        "Hooks\n    helo, ehlo\n\nBelongs after\n    relay, auth/*\n\nNeeds the plugins\n" in text
    )
    assert "Needs the plugins\n    relay\n\nFiles\n" in text
    assert (
        "Files\n    quotas\n        How much a user may send.\n"
        "    partners.cdb\n        Domains of partners.\n\n"
        "Examined by qpsmtpd doctor\n    Whether somebody answers.\n\nArguments\n"
    ) in text
    assert "    host text  (the name may be left out)\n        Where it is.\n" in text
    assert "    wait duration  (default: 1m; at least 1s)\n        How long.\n" in text
    assert "    quick  (default: no)\n        Faster." in text
    own, common = text.split("Arguments of every plugin")
    assert "Its own." in own
    assert "loglevel" not in common
    assert "on_fault defer|skip  (default: defer)" in common


def test_manual_of_a_plugin_without_options() -> None:
    text = "\n".join(plugin_manual(Discard))
    assert text.startswith("queue/discard: ")
    assert text.count("Arguments") == 1
    assert "Files" not in text
    assert "Examined" not in text
    assert Discard.Options is NoOptions
