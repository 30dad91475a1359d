# SPDX-License-Identifier: MIT
"""ownership: files and directories with the right owner and mode, made without following links."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAILDIR_PARTS = ("cur", "new", "tmp")
_PRIVATE = 0o700


class Owner(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a file into place: whoever looks finds the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).rename(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


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
    """Take a file with secrets away from everybody but its owner and our group."""
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
