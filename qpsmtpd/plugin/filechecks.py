# SPDX-License-Identifier: MIT
"""Checks that several plugins need for their `examine`: of directories, programs and sockets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Obstacle, System

_ANOTHER = ("Install it, or choose another delivery:", "dpkg-reconfigure qpsmtpd")


def check_directory(system: System, what: str, directory: Path) -> Finding:
    """Whether the daemon can write to a directory, or create it; `what` says what it is for."""
    there = system.existing(directory)
    found = system.obstacle(there, os.W_OK | os.X_OK)
    closed = None if found else system.confinement(directory)
    if closed is not None:
        return closed
    subject, user = f"{what} {directory}", system.user
    if found is None:
        made = "" if there == directory else "; it is created at start"
        return Finding.ok(subject, f"user {user} can write to it{made}")
    if found.kind == "hidden":
        return Finding.notice(subject, str(found))
    command = f"install -d -o {user} -g {user} -m 0700 {directory}"
    return Finding.error(subject, str(found), "Give it to the user:", command)


def check_program(system: System, program: str, *, set_id: bool) -> Iterator[Finding]:
    """Whether the daemon can run a program that delivers; `set_id`: it needs its owner's rights."""
    status = system.status(program)
    if status is None:
        yield Finding.error(program, "does not exist", *_ANOTHER)
        return
    if not stat.S_ISREG(status.st_mode):
        yield Finding.error(program, "is not a program", *_ANOTHER)
        return
    found = system.obstacle(program, os.X_OK)
    if found is not None:
        yield Finding.error(program, str(found))
    elif status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        fine = Finding.ok(program, "can be run, with its owner's privileges")
        yield system.set_id_problem(program) or fine
    elif set_id:
        yield Finding.error(program, "has lost its set-id bit, so it cannot write to its queue")
    else:
        yield Finding.ok(program, "can be run")


def socket_denied(system: System, subject: str, path: str) -> Finding | None:
    """What forbids the daemon to use a Unix socket, which need not exist; None if nothing does."""
    found = system.obstacle(path, os.W_OK)
    return denied(system, subject, found) if found is not None and found.kind == "denied" else None


def denied(system: System, subject: str, found: Obstacle) -> Finding:
    """An obstacle for the daemon's user, and the group in which there would be none."""
    if found.gid is None:
        return Finding.error(subject, str(found))
    group = system.group_name(found.gid)
    return Finding.error(
        subject,
        str(found),
        f"Make {system.user} a member of the group {group}, and restart:",
        f"adduser {system.user} {group}",
        "systemctl restart qpsmtpd.service",
    )
