# SPDX-License-Identifier: MIT
"""The file with our process id: whom it is taken from, and what is not touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.daemon import pidfile
from qpsmtpd.daemon.pidfile import write_pid_file
from qpsmtpd.errors import QpsmtpdError

#: A process that is certainly alive: whoever started us.
OTHER = os.getppid()


def ours() -> str:
    return f"{os.getpid()}\n"


def a_process(proc: Path, command: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / str(OTHER)).mkdir(parents=True)
    (proc / str(OTHER) / "cmdline").write_bytes(command)
    monkeypatch.setattr(pidfile, "_PROC", proc)


@pytest.mark.parametrize("before", [None, "", "0x7\n", "9" * 24, "-1", "ours"])
def test_a_stale_file_is_replaced(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "pid"
    if before is not None:
        path.write_text(ours() if before == "ours" else before)
    write_pid_file(path)
    assert path.read_text() == ours()


def test_an_id_that_another_program_has_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_process(tmp_path / "proc", b"/usr/bin/python3\0/srv/other", monkeypatch)
    path = tmp_path / "pid"
    path.write_text(f"{OTHER}\n")
    write_pid_file(path)
    assert path.read_text() == ours()


@pytest.mark.parametrize("error", [None, PermissionError(1, "not permitted")])
def test_a_daemon_that_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    a_process(tmp_path / "proc", b"/usr/bin/python3\0/usr/bin/qpsmtpd\0run", monkeypatch)

    def kill(_pid: int, _signal: int) -> None:
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    path = tmp_path / "pid"
    path.write_text(f"{OTHER}\n")
    with pytest.raises(QpsmtpdError, match=f"already running, with process id {OTHER}"):
        write_pid_file(path)
    assert path.read_text() == f"{OTHER}\n"


def test_without_proc_who_is_alive_may_be_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidfile, "_PROC", tmp_path / "none")
    (tmp_path / "pid").write_text(f"{OTHER}\n")
    with pytest.raises(QpsmtpdError, match="already running"):
        write_pid_file(tmp_path / "pid")


def test_no_link_is_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "symbolic").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    (tmp_path / "hard").hardlink_to(victim)
    for name, problem in (
        ("symbolic", "is a symbolic link"),
        ("dangling", "is a symbolic link"),
        ("hard", "is not a file of its own"),
    ):
        with pytest.raises(QpsmtpdError, match=f"{name}: {problem}"):
            write_pid_file(tmp_path / name)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets files of others")
def test_a_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{OTHER}\n")
    os.chown(path, 54321, 54321)
    with pytest.raises(QpsmtpdError, match="belongs to another user: remove it"):
        write_pid_file(path)
    assert path.read_text() == f"{OTHER}\n"


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(QpsmtpdError, match="No such file or directory"):
        write_pid_file(tmp_path / "missing" / "pid")
