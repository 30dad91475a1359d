# SPDX-License-Identifier: MIT
"""queue/maildir: whether the daemon's user can deliver into the directory, or make it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.doctor.access import EXECUTE, READ, WRITE, obstacle
from qpsmtpd.doctor.configuration import maildir_directories
from qpsmtpd.doctor.confinement import read_only
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.plugin.finding import Finding

_ALL = READ | WRITE | EXECUTE


def check_maildir(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """The Maildir, or the directory above those of the recipients."""
    account, machine = installation.account, installation.machine
    if account is None:
        return
    closed = read_only(machine, Path(line.options.directory))
    if closed is not None:
        yield closed
    for directory in maildir_directories(line):
        there = existing(machine, Path(directory))
        found = obstacle(machine, there, account, _ALL)
        if found is not None and found.kind == "hidden":
            yield Finding.notice(directory, str(found))
        elif found is not None:
            yield Finding.error(
                directory, str(found), "Give the directory to the user:", *_give(line, account.name)
            )
            return
        elif there != Path(directory):
            yield Finding.notice(directory, "does not exist; qpsmtpd makes it when it starts")
            return
    if closed is None:
        yield Finding.ok(line.options.directory, f"user {account.name} can deliver here")


def existing(machine: Machine, path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next((step for step in (path, *path.parents) if machine.exists(step)), Path("/"))


def _give(line: PluginLine, user: str) -> tuple[str, ...]:
    directory: str = line.options.directory
    names = [directory] if line.options.pattern else maildir_directories(line)
    return (f"install -d -o {user} -g {user} -m {line.options.mode} {' '.join(names)}",)
