# SPDX-License-Identifier: MIT
"""ownership: files and directories with the right owner and mode, made without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_MAILDIR_PARTS = ("cur", "new", "tmp")
_PRIVATE = 0o700
_SECRET = 0o600


class Owner(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a file into place: whoever looks finds the old one or the whole new one.

    Until then it is `unfinished(path)`.  The directory has to be root's alone.  Raises OSError with
    the name of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write(unfinished(path), text, mode)
        unfinished(path).rename(path)
    except BaseException:
        unfinished(path).unlink(missing_ok=True)
        raise


def unfinished(path: Path) -> Path:
    """Where a file is written; always the same, so that interrupted runs leave one at most."""
    return path.with_name(f".{path.name}.new")


def assure_room(files: Mapping[Path, str]) -> None:
    """Make sure that all of these files can be written; none is touched.

    For programs that empty a file before they notice that the disk is full.  Raises OSError with
    the name of the file.
    """
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(unfinished(path), text, _SECRET)
    finally:
        for path in files:
            unfinished(path).unlink(missing_ok=True)


def _write(path: Path, text: str, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, _WRITE, _SECRET), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def make_maildir(path: Path, owner: Owner) -> None:
    """Make a Maildir, 0700, unless there is one.

    One that is there belongs to somebody and stays as it is; only what an interrupted run of this
    has left, which is root's and has no mail in it, is completed.  Raises OSError.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not path.exists():
        path.mkdir(mode=_PRIVATE)
    directory = os.open(path, _NO_LINK | os.O_DIRECTORY)
    try:
        found = os.fstat(directory)
        ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == _PRIVATE
        if ours and _names(directory) <= set(_MAILDIR_PARTS):
            _complete_maildir(directory, owner)
    finally:
        os.close(directory)


def _complete_maildir(directory: int, owner: Owner) -> None:
    there = _names(directory)
    for part in _MAILDIR_PARTS:
        if part not in there:
            os.mkdir(part, _PRIVATE, dir_fd=directory)
        os.chown(part, *owner, dir_fd=directory, follow_symlinks=False)
    os.fchown(directory, *owner)


def _names(directory: int) -> set[str]:
    with os.scandir(directory) as entries:
        return {entry.name for entry in entries}


def protect(path: Path, gid: int) -> None:
    """Close a file with secrets to everybody but its owner and our group."""
    try:
        descriptor = os.open(path, _NO_LINK | os.O_NONBLOCK)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IRWXO:
            os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, 0o640)
    finally:
        os.close(descriptor)
