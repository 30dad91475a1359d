# SPDX-License-Identifier: MIT
"""Access: the permission bits on the way to a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.access import EXECUTE, READ, WRITE, obstacle, only_root_changes, permitted
from qpsmtpd.plugin.system import Account
from tests.unit.doctor.fakes import EVERYBODY, MEMBER, STRANGER, FakeMachine


def test_nothing_in_the_way(machine: FakeMachine) -> None:
    machine.file("/var/spool/x", mode=0o644)
    assert obstacle(machine, "/var/spool/x", STRANGER, READ) is None


def test_missing(machine: FakeMachine) -> None:
    machine.directory("/var")
    found = obstacle(machine, "/var/spool/x", STRANGER, READ)
    assert found
    assert (str(found.path), found.kind, str(found)) == (
        "/var/spool",
        "missing",
        "/var/spool does not exist",
    )


def test_directory_of_a_group(machine: FakeMachine) -> None:
    machine.file("/var/public/x", mode=0o666)
    machine.directory("/var/public", 0o710)
    found = obstacle(machine, "/var/public/x", STRANGER, WRITE)
    assert found
    assert (str(found.path), found.kind, found.gid) == ("/var/public", "denied", os.getgid())
    assert "does not let user qpsmtpd enter (drwx--x---" in str(found)
    assert obstacle(machine, "/var/public/x", MEMBER, WRITE) is None


def test_file_that_no_group_helps_with(machine: FakeMachine) -> None:
    machine.file("/key", mode=0o600)
    found = obstacle(machine, "/key", MEMBER, READ)
    assert found
    assert (found.gid, "read" in str(found)) == (None, True)
    assert obstacle(machine, "/key", EVERYBODY, READ | WRITE) is None


def test_program(machine: FakeMachine) -> None:
    machine.file("/program", mode=0o644)
    found = obstacle(machine, "/program", MEMBER, EXECUTE)
    assert found
    assert "does not let user qpsmtpd run" in str(found)


def test_symbolic_link(machine: FakeMachine) -> None:
    machine.file("/data/closed/x", mode=0o644)
    machine.directory("/data/closed", 0o700)
    machine.path("/link").symlink_to("data/closed/x")
    found = obstacle(machine, "/link", MEMBER, READ)
    assert found
    assert str(found.path) == "/data/closed"


def test_hidden_from_us(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(path: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(machine, "status", status)
    found = obstacle(machine, "/x", MEMBER, READ)
    assert found
    assert found.kind == "hidden"


@pytest.mark.parametrize(
    ("owner", "mode", "expected"),
    [(0, 0o755, True), (0, 0o775, False), (0, 0o757, False), (1000, 0o755, False)],
)
def test_files_that_only_root_changes(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, expected: bool
) -> None:
    """A directory on the way, of the path itself or behind a link, decides as the file does."""
    machine.file("/real/plugins/x.py")
    machine.path("/link").symlink_to("real/plugins")
    odd = {"path": ""}

    def status(path: Path) -> os.stat_result:
        owned, bits = (owner, mode) if str(path) == odd["path"] else (0, 0o755)
        return os.stat_result((0o100000 | bits, 0, 0, 1, owned, 0, 0, 0, 0, 0))

    monkeypatch.setattr(machine, "status", status)
    assert only_root_changes(machine, Path("/link/x.py"))
    for step in ("/", "/link", "/link/x.py", "/real", "/real/plugins", "/real/plugins/x.py"):
        odd["path"] = step
        assert only_root_changes(machine, Path("/link/x.py")) is expected


def test_a_file_that_is_missing_or_hidden_may_be_anybodys(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not only_root_changes(machine, Path("/none"))

    def status(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(machine, "status", status)
    assert not only_root_changes(machine, Path("/none"))


@given(st.integers(0, 0o777), st.integers(0, 7), st.booleans(), st.booleans())
def test_the_first_class_that_fits_decides(
    mode: int, needed: int, owner: bool, group: bool
) -> None:
    status = os.stat_result((0o100000 | mode, 0, 0, 1, 1000, 2000, 0, 0, 0, 0))
    account = Account("x", 1000 if owner else 1001, frozenset({2000 if group else 2001}))
    shift = 6 if owner else 3 if group else 0
    assert permitted(status, account, needed) == all(
        mode >> shift & bit for bit in (4, 2, 1) if needed & bit
    )
