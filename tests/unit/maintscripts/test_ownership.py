# SPDX-License-Identifier: MIT
"""Tests of ownership."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maintscripts.ownership import Owner, make_maildir, protect, write_atomically

OWNER = Owner(os.getuid(), os.getgid())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_write_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    write_atomically(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    assert mode(path) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_make_maildir(tmp_path: Path) -> None:
    path = tmp_path / "a/Maildir"
    make_maildir(path, OWNER)
    assert sorted(entry.name for entry in path.iterdir()) == ["cur", "new", "tmp"]
    assert {mode(entry) for entry in (path, *path.iterdir())} == {0o700}
    assert mode(path.parent) == 0o755


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    path.mkdir(mode=0o750)
    make_maildir(path, OWNER)
    assert list(path.iterdir()) == []
    path.chmod(0o700)
    (path / "mail").touch()
    make_maildir(path, OWNER)
    assert [entry.name for entry in path.iterdir()] == ["mail"]


def test_what_an_interruption_left_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    path.mkdir(mode=0o700)
    (path / "cur").mkdir(mode=0o700)
    make_maildir(path, OWNER)
    assert sorted(entry.name for entry in path.iterdir()) == ["cur", "new", "tmp"]


def test_the_maildir_is_given_away_its_parts_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it looks unfinished until it is finished."""
    given: list[tuple[object, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda what, uid, gid, **_: given.append((what, uid, gid)))
    monkeypatch.setattr(os, "fchown", lambda what, uid, gid: given.append(("itself", uid, gid)))
    make_maildir(tmp_path / "Maildir", Owner(12345, 12346))
    assert given == [(part, 12345, 12346) for part in ("cur", "new", "tmp", "itself")]


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "Maildir").symlink_to(target)
    with pytest.raises(OSError):
        make_maildir(tmp_path / "Maildir", OWNER)
    assert list(target.iterdir()) == []


def test_protect(tmp_path: Path) -> None:
    secret = tmp_path / "flat_auth_pw"
    secret.write_text("user:password\n")
    secret.chmod(0o644)
    protect(secret, OWNER.gid)
    assert mode(secret) == 0o640


def test_what_is_protected_better_stays(tmp_path: Path) -> None:
    secret = tmp_path / "flat_auth_pw"
    secret.touch(mode=0o600)
    protect(secret, OWNER.gid)
    assert mode(secret) == 0o600


def test_protect_neither_links_nor_what_is_not_there(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch(mode=0o644)
    (tmp_path / "link").symlink_to(other)
    protect(tmp_path / "link", OWNER.gid)
    protect(tmp_path / "none", OWNER.gid)
    assert mode(other) == 0o644
