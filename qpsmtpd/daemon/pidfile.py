# SPDX-License-Identifier: MIT
"""Pid file: our process id, for scripts that manage the daemon.

It is written by root, perhaps into a directory where others can make files.  So no link is
followed, and a file of another user is neither believed nor overwritten.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from qpsmtpd.errors import QpsmtpdError

_PROC = Path("/proc")
_MOST_DIGITS = 32  # octets that are read of a file


def write_pid_file(path: Path) -> None:
    """Write our process id, unless a daemon that is alive has written its own.

    Raises QpsmtpdError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise QpsmtpdError(f"{path}: {reason}") from error
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        if problem := _problem(os.fstat(descriptor)):
            raise QpsmtpdError(f"{path}: {problem}")
        other = _running(file.read(_MOST_DIGITS))
        if other is not None:
            raise QpsmtpdError(f"{path}: qpsmtpd is already running, with process id {other}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _problem(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return "is not a file of its own"
    if status.st_uid not in (0, os.geteuid()):
        return "belongs to another user: remove it"
    return ""


def _running(text: bytes) -> int | None:
    """The process of this id, if it is a daemon like us; the id may have gone to another one."""
    if not text.strip().isdigit():
        return None
    pid = int(text)
    if pid == os.getpid():
        return None
    if not _is_alive(pid):
        return None
    with suppress(OSError):
        return pid if b"qpsmtpd" in (_PROC / str(pid) / "cmdline").read_bytes() else None
    return pid


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True
