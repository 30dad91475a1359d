# SPDX-License-Identifier: MIT
"""A plugin of an administrator is documented, checked and examined as ours are."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.commands import main as cli
from qpsmtpd.doctor.examine import examine
from tests.unit.doctor.fakes import FakeMachine, an_installation, summary

PLUGIN = '''\
"""reputation: ask our server what it thinks of a client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import Finding, Plugin, Seconds, Session, System, Verdict, opt


@dataclass(frozen=True, kw_only=True)
class Options:
    timeout: Seconds = opt(Seconds(2), least=1, most=30, doc="How long it may take.")


class Reputation(Plugin[Options]):
    Options = Options
    files = {"partners": "Clients that are never asked about."}
    after = ("relay",)

    async def start(self) -> None:
        self._partners = await self.services.config.lines("partners")

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the server answers."""
        if system.exists("/run/reputation"):
            yield Finding.ok(self.name, "answers")
        else:
            command = "systemctl start reputation"
            yield Finding.error(self.name, "does not answer", "Start it:", command)

    async def hook_connect(self, session: Session) -> Verdict | None:
        return None
'''
CHAIN = "relay\nreputation\nrcpt_ok\nqueue/qmail-queue /opt/queue\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine with the plugin."""
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "machine").mkdir(mode=0o755)
    made = FakeMachine(tmp_path / "machine")
    made.file("/plugins/reputation.py", PLUGIN)
    made.file("/opt/queue", mode=0o755)
    return made


def configure(machine: FakeMachine, chain: str = CHAIN, partners: str = "partners") -> Path:
    """Its configuration, with the name of one file."""
    an_installation(machine, chain, plugin_dirs=f"{machine.root}/plugins", spool_dir="/spool")
    machine.file(f"/etc/qpsmtpd/{partners}", "192.0.2.1\n")
    return machine.path("/etc/qpsmtpd")


def test_manual(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    directory = str(configure(machine))
    assert cli.main(["plugins", "reputation", "--config", directory]) == 0
    manual = capsys.readouterr().out
    assert manual.startswith("reputation: ask our server what it thinks of a client.\n")
    for part in (
        "Hooks\n    connect\n",
        "Belongs after\n    relay\n",
        "Files\n    partners\n        Clients that are never asked about.\n",
        "Examined by qpsmtpd doctor\n    Whether the server answers.\n",
        "    timeout duration  (default: 2s; 1s to 30s)\n        How long it may take.\n",
    ):
        assert part in manual


def checked(directory: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What check-config prints, without the summary."""
    cli.main(["check-config", str(directory)])
    lines = capsys.readouterr().out.replace(f"{directory}/", "").splitlines()
    return lines[:-1]


def test_check_config(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(configure(machine), capsys) == []
    late = CHAIN.replace("relay\n", "") + "relay\n"
    assert checked(configure(machine, late, partners="partner"), capsys) == [
        "plugins:1: warning: reputation: belongs after relay (plugins:4)",
        "plugins:4: warning: relay: is not asked about recipients that rcpt_ok (plugins:2) "
        "accepts; its line belongs above",
        "partner: warning: nothing reads this file: no setting and no plugin has a file with "
        "this name (did you mean 'partners'?)",
    ]
    wrong = CHAIN.replace("reputation", "reputation timeout 0")
    assert checked(configure(machine, wrong), capsys) == [
        "plugins:2: error: reputation: timeout: '0' is too small: the minimum is 1s"
    ]


def test_doctor(machine: FakeMachine) -> None:
    installation = an_installation(machine, CHAIN, plugin_dirs=f"{machine.root}/plugins")
    assert summary(examine(installation)["Plugins"]) == ["error does not answer"]
    machine.file("/run/reputation")
    findings = examine(installation)
    assert summary(findings["Plugins"]) == ["ok answers"]
    assert summary(findings["Configuration"]) == ["ok 4 plugins, no problems"]
    assert summary(findings["Next hops"])[0] == "ok can be run"
