# SPDX-License-Identifier: MIT
"""Being the daemon, for commands that use its store.

A file that root has written beside the daemon's store would lock the daemon out.  And the directory
of the store is the one that systemd gives to the unit; a command that systemd has started knows
both already.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qpsmtpd.config.settings import Settings
from qpsmtpd.daemon.start import drop_privileges
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE, Unit
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import default_location

_STATE = "/var/lib"
_VARIABLE = "STATE_DIRECTORY"


def environment_of_daemon(machine: Machine) -> dict[str, str]:
    """Our environment, with the directory of the unit in which the store is by default."""
    name = Unit(machine, SERVICE).value("StateDirectory").partition(" ")[0]
    given = {_VARIABLE: f"{_STATE}/{name}"} if name else {}
    return {**given, **machine.environment}


def store_file(settings: Settings, environment: dict[str, str]) -> Path | None:
    """The file of the store; None if it is a server."""
    if settings.store:
        location = parse_location(settings.store)
        return location if isinstance(location, Path) else None
    return default_location(environment, settings.spool_dir)


def become_owner(status: os.stat_result) -> None:
    """If root runs this: become the owner of a file."""
    if os.geteuid() == 0 and status.st_uid != 0:
        os.setgroups([])
        os.setgid(status.st_gid)
        os.setuid(status.st_uid)


def _give(directory: Path, user: str | int) -> None:
    """Let a directory and the files in it belong to a user."""
    for path in (directory, *directory.iterdir()):
        shutil.chown(path, user)


def become_daemon(machine: Machine, file: Path | None, *, own: Path | None = None) -> None:
    """Root becomes the user of the unit, or else the owner of the store's file; others stay.

    own: a directory that is to belong to that user.
    Raises QpsmtpdError if root would have to make that file.
    """
    if os.geteuid() != 0:
        return
    if user := Unit(machine, SERVICE).value("User"):
        if own is not None:
            _give(own, user)
        drop_privileges(user)
    elif file is not None:
        try:
            status = file.stat()
        except FileNotFoundError:
            raise QpsmtpdError(f"there is no store yet ({file})") from None
        if own is not None:
            _give(own, status.st_uid)
        become_owner(status)
