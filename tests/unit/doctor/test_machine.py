# SPDX-License-Identifier: MIT
"""System: what it tells of the real machine, and of a directory."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from qpsmtpd.doctor import machine as module
from qpsmtpd.doctor.machine import Account, Machine, Output

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, {"NAME": "value"})


def test_files(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/b").write_bytes(b"caf\xe9")
    (tmp_path / "etc/a").symlink_to("b")
    assert machine.names("/etc") == ["a", "b"]
    assert machine.read("/etc/b") == "caf�"
    assert machine.link("/etc/a") == "b"
    assert machine.exists("/etc/a")
    assert (machine.names("/x"), machine.read("/x"), machine.link("/x")) == ([], "", "")
    assert machine.status("/x") is None


def test_runnable(machine: Machine, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("x")
    program.chmod(0o644)
    assert not machine.runnable("/program")
    program.chmod(0o755)
    assert machine.runnable("/program")
    assert not machine.runnable("/")


def test_closed_directory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "stat", stat)
    assert not machine.exists("/x")
    assert not machine.runnable("/x")
    with pytest.raises(PermissionError):
        machine.status("/x")


def test_run(machine: Machine) -> None:
    assert machine.run("sh", "-c", "echo $NAME $LC_ALL; exit 3") == Output(3, "value C")
    assert machine.run("there-is-no-such-program") is None


def test_slow_command(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND_TIMEOUT", 0.01)
    assert machine.run("sleep", "10") is None


def test_users(machine: Machine) -> None:
    account = machine.account(ME)
    assert account
    assert account.uid == os.geteuid()
    assert machine.account("nobody knows") is None
    assert machine.group("nobody knows") is None
    assert machine.group(machine.group_name(0)) == 0
    assert machine.group_name(987654) == "987654"


def test_as_ourselves(machine: Machine) -> None:
    assert machine.as_user(None, os.getpid) == os.getpid()


def test_as_another(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own; becoming another user needs root, so it is recorded only."""
    became: list[str] = []
    monkeypatch.setattr(Machine, "privileged", True)
    monkeypatch.setattr(os, "setgroups", lambda groups: became.append(f"groups {groups}"))
    monkeypatch.setattr(os, "setgid", lambda gid: became.append(f"gid {gid}"))
    monkeypatch.setattr(os, "setuid", lambda uid: became.append(f"uid {uid}"))
    entry = pwd.getpwnam(ME)
    account = Account(ME, entry.pw_uid, frozenset({7}))
    pid, changes = machine.as_user(account, lambda: (os.getpid(), became))
    assert pid != os.getpid()
    assert changes == ["groups [7]", f"gid {entry.pw_gid}", f"uid {entry.pw_uid}"]


def test_as_another_that_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "privileged", True)

    def refuse(groups: object) -> None:
        raise PermissionError(groups)

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(OSError, match="nothing can be run as user"):
        machine.as_user(Account(ME, 0, frozenset()), os.getpid)


def test_a_user_that_was_taken_over_is_not_believed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its process writes is text to be parsed, never an object to be made."""
    monkeypatch.setattr(Machine, "privileged", True)
    for change in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, change, lambda _: None)
    monkeypatch.setattr("json.dumps", lambda _: "\x80\x04K\x01.")
    account = Account(ME, pwd.getpwnam(ME).pw_uid, frozenset())
    with pytest.raises(OSError, match="does not answer in JSON"):
        machine.as_user(account, os.getpid)


def test_local(machine: Machine) -> None:
    assert machine.local("127.0.0.1")
    assert not machine.local("192.0.2.77")
    assert not machine.local("mx.example")


def test_public_addresses(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "run", lambda *_: Output(0, "192.0.2.1 2001:db8::1"))
    assert machine.public_addresses() == ["192.0.2.1", "2001:db8::1"]
    monkeypatch.setattr(machine, "run", lambda *_: None)
    assert machine.public_addresses() == []


def test_systemd(machine: Machine, tmp_path: Path) -> None:
    assert not machine.systemd
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert machine.systemd
