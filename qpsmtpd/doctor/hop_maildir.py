# SPDX-License-Identifier: MIT
"""queue/maildir: whether the daemon's user can deliver into the directory, or make it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.doctor.access import EXECUTE, READ, WRITE, obstacle
from qpsmtpd.doctor.configuration import maildir_directories
from qpsmtpd.doctor.confinement import read_only
from qpsmtpd.doctor.finding import Finding, error, notice, ok
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.system import System

_ALL = READ | WRITE | EXECUTE


def check_maildir(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """The Maildir, or the directory above those of the recipients."""
    account, system = installation.account, installation.system
    if account is None:
        return
    closed = read_only(system, Path(line.options.directory))
    if closed is not None:
        yield closed
    for directory in maildir_directories(line):
        there = existing(system, Path(directory))
        found = obstacle(system, there, account, _ALL)
        if found is not None and found.kind == "hidden":
            yield notice(directory, str(found))
        elif found is not None:
            yield error(
                directory, str(found), "Give the directory to the user:", *_give(line, account.name)
            )
            return
        elif there != Path(directory):
            yield notice(directory, "does not exist; qpsmtpd makes it when it starts")
            return
    if closed is None:
        yield ok(line.options.directory, f"user {account.name} can deliver here")


def existing(system: System, path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next((step for step in (path, *path.parents) if system.exists(step)), Path("/"))


def _give(line: PluginLine, user: str) -> tuple[str, ...]:
    directory: str = line.options.directory
    names = [directory] if line.options.pattern else maildir_directories(line)
    return (f"install -d -o {user} -g {user} -m {line.options.mode} {' '.join(names)}",)
