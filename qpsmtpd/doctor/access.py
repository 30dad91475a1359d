# SPDX-License-Identifier: MIT
"""Access: whether a user may reach a file, by the permission bits of every directory on the way.

Access control lists are not considered, nor is what a systemd unit takes away.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from qpsmtpd.doctor.machine import Machine
from qpsmtpd.plugin.system import Account, Obstacle

READ, WRITE, EXECUTE = os.R_OK, os.W_OK, os.X_OK
_WORDS = {READ: "read", WRITE: "write", EXECUTE: "enter"}


def obstacle(machine: Machine, path: str | Path, account: Account, wanted: int) -> Obstacle | None:
    """The first thing that keeps the user from the file; None when nothing does.

    wanted: a combination of READ, WRITE and EXECUTE.
    """
    for step in _steps(machine, Path(path)):
        needed = wanted if step == _real(machine, Path(path)) else EXECUTE
        found = _obstacle_at(machine, step, account, needed)
        if found is not None:
            return found
    return None


def _real(machine: Machine, path: Path) -> Path:
    """The path without symbolic links."""
    real = Path(os.path.realpath(machine.path(path)))
    root = Path(os.path.realpath(machine.root))
    return Path("/") / real.relative_to(root) if real.is_relative_to(root) else path


def _steps(machine: Machine, path: Path) -> list[Path]:
    real = _real(machine, path)
    return [*reversed(real.parents), real]


def _obstacle_at(machine: Machine, path: Path, account: Account, needed: int) -> Obstacle | None:
    try:
        status = machine.status(path)
    except PermissionError:
        return Obstacle(path, "hidden", "cannot be examined without root; run this as root")
    if status is None:
        return Obstacle(path, "missing", "does not exist")
    if permitted(status, account, needed):
        return None
    gid = status.st_gid if (status.st_mode >> 3) & needed == needed else None
    return Obstacle(path, "denied", _denial(status, account, needed), gid)


def permitted(status: os.stat_result, account: Account, needed: int) -> bool:
    """Whether the permission bits let the user do that; root may do everything."""
    if account.uid == 0:
        return True
    if status.st_uid == account.uid:
        bits = status.st_mode >> 6
    elif status.st_gid in account.groups:
        bits = status.st_mode >> 3
    else:
        bits = status.st_mode
    return bits & needed == needed


def only_root_changes(machine: Machine, path: Path) -> bool:
    """Whether only root can change a file, or put another one in its place."""
    steps = {*_steps(machine, path), path, *path.parents}
    try:
        return all(_is_roots(machine.status(step)) for step in steps)
    except PermissionError:
        return False


def _is_roots(status: os.stat_result | None) -> bool:
    return status is not None and status.st_uid == 0 and not status.st_mode & 0o022


def _denial(status: os.stat_result, account: Account, needed: int) -> str:
    words = [word for bit, word in _WORDS.items() if needed & bit]
    if stat.S_ISREG(status.st_mode):
        words = ["run" if word == "enter" else word for word in words]
    return (
        f"does not let user {account.name} {' and '.join(words)} "
        f"({stat.filemode(status.st_mode)}, user {status.st_uid}, group {status.st_gid})"
    )
