# SPDX-License-Identifier: MIT
"""Hops: every plugin that delivers is examined."""

from __future__ import annotations

from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.doctor.hops import check_next_hops
from qpsmtpd.plugin.base import Plugin
from tests.unit.doctor.fakes import FakeMachine, an_installation, commands, examined, summary


def test_every_shipped_plugin_that_delivers_is_examined() -> None:
    """What a handler for aiosmtpd does with a message is not known."""
    shipped = shipped_plugins()
    delivering = {name for name, cls in shipped.items() if "queue" in cls.hooks()}
    assert "queue/maildir" in delivering
    unexamined = {name for name in delivering if shipped[name].examine is Plugin.examine}
    assert unexamined == {"aiosmtpd", "queue/discard"}


def test_each_line(machine: FakeMachine) -> None:
    chain = "rcpt_ok\nqueue/maildir:1 /a\nqueue/qmail-queue /b\n"
    found = list(check_next_hops(examined(an_installation(machine, chain))))
    assert [f.subject for f in found] == ["/a", "/b", "qmail"]


def test_none(machine: FakeMachine) -> None:
    found = list(check_next_hops(examined(an_installation(machine, "rcpt_ok\n"))))
    assert summary(found) == ["error no plugin delivers messages, so qpsmtpd does not start"]
    assert commands(found) == ["dpkg-reconfigure qpsmtpd"]


def test_discard_is_a_matter_of_the_configuration(machine: FakeMachine) -> None:
    assert list(check_next_hops(examined(an_installation(machine)))) == []


def test_local_plugin(machine: FakeMachine) -> None:
    text = (
        "from qpsmtpd.api import NoOptions, Plugin, Transaction, Verdict, accept\n"
        "class Mine(Plugin[NoOptions]):\n"
        "    async def hook_queue(self, tx: Transaction) -> Verdict:\n"
        "        return accept('x')\n"
    )
    directory = machine.file("/plugins/mine.py", text).parent
    installation = an_installation(machine, "rcpt_ok\nmine\n", plugin_dirs=str(directory))
    assert summary(check_next_hops(examined(installation))) == [
        "notice is not examined: it has no method `examine`"
    ]
