# SPDX-License-Identifier: MIT
"""System: what it tells of the real machine, and of a directory."""

from __future__ import annotations

import os
import pwd
import signal
from fcntl import F_DUPFD, fcntl
from pathlib import Path

import pytest

from qpsmtpd.doctor import machine as module
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.plugin.system import Account, Output
from tests.unit.doctor.fakes import STRANGER

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


def test_existing(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert machine.existing("/a/b/c/d") == Path("/a/b")
    assert machine.existing("/x") == Path("/")


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


@pytest.mark.parametrize("account", [None, STRANGER])
def test_who_is_not_root_runs_it_as_themselves(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, account: Account | None
) -> None:
    monkeypatch.setattr(Machine, "privileged", False)
    assert machine.can_be(account)
    assert machine.as_user(account, os.getpid) == os.getpid()


def test_root_does_not_run_it_itself(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "privileged", True)
    assert not machine.can_be(None)
    with pytest.raises(OSError, match="plugins are not run as root"):
        machine.as_user(None, os.getpid)


@pytest.fixture
def privileged(monkeypatch: pytest.MonkeyPatch) -> Account:
    """Root, which becomes nobody else."""
    monkeypatch.setattr(Machine, "privileged", True)
    for change in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, change, lambda _: None)
    return Account(ME, pwd.getpwnam(ME).pw_uid, frozenset())


def test_a_process_without_terminal_and_files(
    machine: Machine, privileged: Account, tmp_path: Path
) -> None:
    """So it can neither type into root's terminal nor read what root has open."""

    def look() -> list[object]:
        names = [name for name in Path("/proc/self/fd").iterdir() if name.is_symlink()]
        return [[str(name.readlink()) for name in names], os.getsid(0) == os.getpid()]

    with (tmp_path / "secret").open("w") as low, os.fdopen(fcntl(low, F_DUPFD, 500)):
        links, leads_its_session = machine.as_user(privileged, look)
    assert isinstance(links, list)
    assert "/dev/null" in links
    assert all(link == "/dev/null" or link.startswith("pipe:") for link in links)
    assert leads_its_session


def test_a_process_that_does_not_end(
    machine: Machine, privileged: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHILD_TIMEOUT", 0.01)
    with pytest.raises(OSError, match=f"the process of user {ME} does not end"):
        machine.as_user(privileged, signal.pause)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_process_that_answers_for_ever(
    machine: Machine, privileged: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OCTETS", 1000)
    with pytest.raises(OSError, match="answers without end"):
        machine.as_user(privileged, lambda: "x" * 2000)


def test_an_answer_that_is_nested_too_deeply(
    machine: Machine, privileged: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("json.dumps", lambda _: "[" * 100_000)
    with pytest.raises(OSError, match="does not answer in JSON"):
        machine.as_user(privileged, os.getpid)


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
    machine: Machine, privileged: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its process writes is text to be parsed, never an object to be made."""
    monkeypatch.setattr("json.dumps", lambda _: "\x80\x04K\x01.")
    with pytest.raises(OSError, match="does not answer in JSON"):
        machine.as_user(privileged, os.getpid)


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
