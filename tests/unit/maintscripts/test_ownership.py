# SPDX-License-Identifier: MIT
"""Tests of ownership."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maintscripts.ownership import (
    Owner,
    assure_room,
    make_maildir,
    protect,
    unfinished,
    write_atomically,
)

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


def test_what_an_interrupted_write_left_is_gone_after_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    unfinished(path).write_text("much more than the new text")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_text("other")
    unfinished(path).symlink_to(other)
    with pytest.raises(OSError, match="symbolic"):
        write_atomically(path, "new")
    assert other.read_text() == "other"


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, hard))
    try:
        with pytest.raises(OSError, match="too large") as failed:
            write_atomically(path, "new text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.value.filename == str(unfinished(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_room_for_all_files_or_none_is_touched(tmp_path: Path) -> None:
    there, full = tmp_path / "there", tmp_path / "new/full"
    there.write_text("old")
    assure_room({there: "new", full: "new"})
    unfinished(full).symlink_to("/dev/null")
    with pytest.raises(OSError, match="symbolic"):
        assure_room({there: "new", full: "new"})
    assert there.read_text() == "old"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "there"]


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
    with given_away(monkeypatch) as given:
        make_maildir(tmp_path / "Maildir", SOMEBODY)
    assert given == [*PARTS, "itself"]


PARTS = ("cur", "new", "tmp")
SOMEBODY = Owner(12345, 12346)


@contextmanager
def given_away(monkeypatch: pytest.MonkeyPatch, until: int = 100) -> Iterator[list[str]]:
    """What SOMEBODY gets, in place of giving it; interrupted before the step `until`."""
    given: list[str] = []

    def step(name: str, owner: tuple[int, int]) -> None:
        if len(given) == until:
            raise KeyboardInterrupt
        assert owner == SOMEBODY
        given.append(name)

    def chown(name: str, uid: int, gid: int, *, dir_fd: int, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        assert os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        step(name, (uid, gid))

    with monkeypatch.context() as patched:
        patched.setattr(os, "chown", chown)
        patched.setattr(os, "fchown", lambda _, uid, gid: step("itself", (uid, gid)))
        yield given


@pytest.mark.parametrize("until", range(4))
def test_what_was_not_given_away_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: int
) -> None:
    """By its owner it is known, also when all its parts are there already."""
    path = tmp_path / "Maildir"
    with given_away(monkeypatch, until) as given, pytest.raises(KeyboardInterrupt):
        make_maildir(path, SOMEBODY)
    assert given == [*PARTS, "itself"][:until]
    with given_away(monkeypatch) as given:
        make_maildir(path, SOMEBODY)
    assert given == [*PARTS, "itself"]
    assert sorted(entry.name for entry in path.iterdir()) == list(PARTS)


def test_a_link_among_the_parts_is_given_away_and_not_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Maildir"
    path.mkdir(mode=0o700)
    (path / "new").symlink_to("/etc")
    with given_away(monkeypatch) as given:
        make_maildir(path, SOMEBODY)
    assert given == [*PARTS, "itself"]


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
