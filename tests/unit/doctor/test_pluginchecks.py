# SPDX-License-Identifier: MIT
"""Plugins: what they find, and what they may not do to root."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.doctor import pluginchecks as module
from qpsmtpd.doctor.examination import Examination
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.pluginchecks import examine_plugins
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Account
from tests.unit.doctor.fakes import FakeMachine, an_installation, said_by, summary

PLUGIN = """
import os
from qpsmtpd.api import ConfigError, Finding, NoOptions, Plugin
{top}
class Mine(Plugin[NoOptions]):
    Options = NoOptions
    {body}
"""


def local(machine: FakeMachine, body: str, top: str = "", chain: str = "mine\n") -> Installation:
    """An installation with a plugin of its own."""
    file = machine.file("/plugins/mine.py", PLUGIN.format(body=body, top=top))
    return an_installation(machine, f"{chain}rcpt_ok\n", plugin_dirs=str(file.parent))


def one(installation: Installation) -> Examination:
    """What the plugin on the first line says."""
    return next(examine_plugins(installation))


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_generator_of_either_kind(machine: FakeMachine, kind: str) -> None:
    body = f"{kind} examine(self, system): yield Finding.ok(self.name, system.user)"
    assert one(local(machine, body, chain="mine:7\n")) == Examination(
        "mine:7", (), (Finding.ok("mine:7", "qpsmtpd", area="Plugins"),)
    )


@pytest.mark.parametrize(
    ("body", "area"),
    [
        ("", "Plugins"),
        ("async def hook_queue(self, tx): ...", "Next hops"),
        ("def hook_logging(self, record): ...", "User and files"),
        ("def tls_context(self): ...", "Certificates"),
    ],
)
def test_what_a_plugin_does_decides_about_the_heading(
    machine: FakeMachine, body: str, area: str
) -> None:
    examine = "def examine(self, system): yield Finding.ok('x', 'y')"
    (found,) = one(local(machine, f"{examine}\n    {body}")).findings
    assert found.area == area


def test_a_plugin_that_has_nothing_to_say(machine: FakeMachine) -> None:
    assert one(local(machine, "")) == Examination("mine", (), ())
    delivers = one(local(machine, "async def hook_queue(self, tx): ..."))
    assert summary(delivers.findings) == ["notice is not examined: it has no method `examine`"]
    lossy = one(local(machine, "warning = 'x'\n    async def hook_queue(self, tx): ..."))
    assert lossy.findings == ()


def test_a_line_that_is_left_out(machine: FakeMachine) -> None:
    """It is not examined until its unit is enabled."""
    body = "def examine(self, system): yield Finding.ok('x', 'well')"
    installation = local(machine, body, chain="mine if_enabled rspamd\n")
    (found,) = one(installation).findings
    assert (found.subject, found.severity.name) == ("mine", "NOTICE")
    assert found.text == "not used, as rspamd is not enabled on this machine (if_enabled)"
    machine.file("/etc/systemd/system/multi-user.target.wants/rspamd.service")
    assert summary(one(installation).findings) == ["ok well"]


def test_what_is_said_before_a_fault_counts(machine: FakeMachine) -> None:
    body = "def examine(self, system):\n        yield Finding.ok('x', 'y')\n        1 / 0"
    assert summary(one(local(machine, body)).findings) == [
        "ok y",
        "warning cannot be examined: ZeroDivisionError: division by zero "
        f"({machine.root}/plugins/mine.py:9)",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "def examine(self, system): return None",
        "def examine(self, system): yield 'x'",
        "def __init__(self, *args): 1 / 0\n    def examine(self, system): yield None",
    ],
)
def test_slips(machine: FakeMachine, body: str) -> None:
    (text,) = summary(one(local(machine, body)).findings)
    assert text.startswith("warning cannot be examined: ")


def test_problems_of_the_configuration_are_told_elsewhere(machine: FakeMachine) -> None:
    body = "def examine(self, system):\n        raise ConfigError('x', 'y')\n        yield"
    assert one(local(machine, body)).findings == ()
    names = [plugin.name for plugin in examine_plugins(local(machine, "", chain="no_such\n"))]
    assert names == ["rcpt_ok"]
    installation = local(machine, "")
    machine.path("/etc/qpsmtpd/plugins").write_bytes(b"\xff")
    assert list(examine_plugins(installation)) == []


def test_a_plugin_that_takes_too_long(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.01)
    body = (
        "async def examine(self, system):\n"
        "        await __import__('asyncio').Event().wait()\n        yield"
    )
    assert summary(one(local(machine, body)).findings) == [
        "warning cannot be examined: it takes longer than 0.01 s"
    ]


def test_what_a_plugin_may_use(machine: FakeMachine) -> None:
    body = """async def examine(self, system):
        config = self.services.config
        yield Finding.ok(str(config.path("map")), (await config.lines("mine_file"))[0])
        yield Finding.ok(self.services.me, str(await self.services.resolver.a("a.test")))
        yield Finding.ok(str(self.services.check_only), str(system.exists("/plugins/mine.py")))
"""
    file = machine.file("/plugins/mine.py", PLUGIN.format(body=body, top=""))
    installation = an_installation(
        machine,
        "mine\n",
        plugin_dirs=str(file.parent),
        mine_file="hello\n",
        records={("A", "a.test"): ["192.0.2.1"]},
    )
    assert [(found.subject, found.text) for found in said_by(installation, "mine")] == [
        ("/etc/qpsmtpd/map", "hello"),
        ("mx.example.org", "['192.0.2.1']"),
        ("True", "True"),
    ]


# --- root -----------------------------------------------------------------------------------

COMMAND = "def examine(self, system): yield Finding.error('x', 'y', 'Do:', 'rm -rf /')"


def test_commands_of_files_that_others_can_change(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = local(machine, COMMAND)
    for only_roots, commands in ((True, ("rm -rf /",)), (False, ())):
        monkeypatch.setattr(module, "only_root_changes", lambda *_, answer=only_roots: answer)
        (found,) = one(installation).findings
        assert found.commands == commands
    assert found.advice == (
        "Its commands are not shown, as users other than root can change "
        f"{machine.root}/plugins/mine.py."
    )


def test_commands_of_our_own_plugins_are_always_shown(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "only_root_changes", lambda *_: False)
    found = said_by(an_installation(machine, "queue/maildir /m\n"), "queue/maildir")
    assert any(finding.commands for finding in found)


@pytest.mark.parametrize("answer", ["x", [[], [["x"]]], [[], [[3, 1, 2, 3, [], "DNS"]]]])
def test_nonsense_from_the_process(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(machine, "as_user", lambda *_: answer)
    (text,) = summary(one(an_installation(machine)).findings)
    assert text.startswith("warning cannot be examined: not a")


def test_no_process(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_user(account: object, function: object) -> None:
        raise OSError("nothing can be run as user qpsmtpd")

    monkeypatch.setattr(machine, "as_user", as_user)
    assert one(an_installation(machine)) == Examination(
        "rcpt_ok",
        (),
        (
            Finding.warning(
                "rcpt_ok", "cannot be examined: nothing can be run as user qpsmtpd", area="Plugins"
            ),
        ),
    )


def test_without_the_user_root_examines_nothing(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "can_be", lambda account: account is not None)
    machine.users = {}
    assert list(examine_plugins(local(machine, COMMAND))) == []


def test_root_imports_no_plugin(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line names is looked for, but read in the process of the user only."""
    monkeypatch.setattr(machine, "as_user", lambda *_: [[], []])
    monkeypatch.setattr(PluginFinder, "find", None)
    names = [plugin.name for plugin in examine_plugins(local(machine, COMMAND))]
    assert names == ["mine", "rcpt_ok"]


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user may enter."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_code_of_a_plugin_runs_as_the_daemons_user(
    public_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether imported or called; and as that user it finds no way back."""
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, frozenset({nobody.pw_gid}))
    body = """def examine(self, system):
        with __import__("contextlib").suppress(OSError):
            os.setuid(0)
        yield Finding.ok(str(IMPORTED), f"{os.getresuid()} {os.getresgid()} {os.getgroups()}")
"""
    top = "IMPORTED = os.geteuid()"
    (public_directory / "mine.py").write_text(PLUGIN.format(body=body, top=top))
    (public_directory / "plugins").write_text("mine\nrcpt_ok\n")
    (public_directory / "plugin_dirs").write_text(f"{public_directory}\n")
    installation = Installation(machine=Machine(environment={}), directories=(public_directory,))
    monkeypatch.setitem(installation.__dict__, "account", account)
    (found,) = one(installation).findings
    ids = [(uid,) * 3 for uid in (nobody.pw_uid, nobody.pw_gid)]
    assert (found.subject, found.text) == (
        str(nobody.pw_uid),
        f"{ids[0]} {ids[1]} [{nobody.pw_gid}]",
    )
    assert "qpsmtpd_local.mine" not in sys.modules or "IMPORTED" not in vars(
        sys.modules["qpsmtpd_local.mine"]
    )
