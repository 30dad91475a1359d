# SPDX-License-Identifier: MIT
"""Hops: every plugin that delivers has a check."""

from __future__ import annotations

from pathlib import Path

from qpsmtpd import plugins
from qpsmtpd.config.names import module_name
from qpsmtpd.doctor.hops import CHECKS, check_next_hops
from tests.unit.doctor.fakes import FakeMachine, an_installation, commands, summary


def test_every_shipped_plugin_is_known() -> None:
    directory = Path(next(iter(plugins.__path__)), "queue")
    shipped = {f"queue.{path.stem}" for path in directory.glob("[a-z]*.py")}
    assert {module_name(name) for name in CHECKS} == shipped - {"queue.discard"}


def test_each_line(machine: FakeMachine) -> None:
    chain = "rcpt_ok\nqueue/maildir:1 /a\nqueue/qmail-queue /b\n"
    found = list(check_next_hops(an_installation(machine, chain)))
    assert [f.subject for f in found] == ["/a", "/b"]


def test_none(machine: FakeMachine) -> None:
    found = list(check_next_hops(an_installation(machine, "rcpt_ok\n")))
    assert summary(found) == ["error no plugin delivers messages, so qpsmtpd does not start"]
    assert commands(found) == ["dpkg-reconfigure qpsmtpd"]


def test_discard_is_a_matter_of_the_configuration(machine: FakeMachine) -> None:
    assert list(check_next_hops(an_installation(machine))) == []


def test_local_plugin(machine: FakeMachine) -> None:
    text = (
        "from qpsmtpd.api import NoOptions, Plugin, Transaction, Verdict, accept\n"
        "class Mine(Plugin[NoOptions]):\n"
        "    async def hook_queue(self, tx: Transaction) -> Verdict:\n"
        "        return accept('x')\n"
    )
    directory = machine.file("/plugins/mine.py", text).parent
    installation = an_installation(machine, "rcpt_ok\nmine\n", plugin_dirs=str(directory))
    assert summary(check_next_hops(installation)) == [
        "notice delivers in a way that is not known here"
    ]
