# SPDX-License-Identifier: MIT
"""The directory for scratch files: created if missing, and checked before it is used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.config.problems import Problem


def default_spool_dir() -> Path:
    """Where scratch files go without the file `spool_dir`: a directory of this user only."""
    return Path(tempfile.gettempdir()) / f"qpsmtpd-{os.geteuid()}"


def prepare_spool_dir(directory: Path, mode: int) -> list[Problem]:
    """Create the directory if it is missing; return what is wrong with it."""
    where = f"spool_dir {directory}"
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            directory.chmod(mode)  # whatever the umask is
        return list(_problems(directory, mode, where))
    except OSError as error:
        return [Problem(where, f"cannot be used: {error.strerror}")]


def _problems(directory: Path, mode: int, where: str) -> Iterator[Problem]:
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        yield Problem(where, "is not a directory that qpsmtpd can write to")
        return
    status = directory.lstat()
    # Anybody can create a directory with that name in /tmp and wait for us to write into it.
    if directory == default_spool_dir() and status.st_uid != os.geteuid():
        yield Problem(where, "belongs to somebody else: name another directory in spool_dir")
    # The upper bits (set-group-ID on Debian) say nothing about who can look inside.
    permissions = directory.stat().st_mode & 0o777
    if permissions != mode & 0o777:
        yield Problem(where, f"its permissions are {permissions:04o}, not {mode:04o}", "warning")
