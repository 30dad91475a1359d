# SPDX-License-Identifier: MIT
"""queue/postfix-queue: whether Postfix's cleanup(8) can be reached by the daemon's user."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator, Sequence

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.doctor.access import WRITE, Obstacle, obstacle
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Account
from qpsmtpd.doctor.processes import process_groups
from qpsmtpd.nexthop.cleanup import Cleanup, CleanupError
from qpsmtpd.plugin.finding import Finding

#: Seconds to wait for Postfix.
TIMEOUT = 5.0

_START = "systemctl start postfix"


def check_postfix_queue(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """Every socket that the plugin would try."""
    for address in _sockets(installation, line):
        if address.startswith("/"):
            yield from _check_path(installation, address)
        else:
            yield _connect(address, address)


def _sockets(installation: Installation, line: PluginLine) -> Sequence[str]:
    given = installation.environment.get("POSTFIXQUEUE")
    usual: str = line.options.socket
    return [given] if given else installation.files.lines("cleanup_sockets") or [usual]


def _check_path(installation: Installation, path: str) -> Iterator[Finding]:
    account, machine = installation.account, installation.machine
    found = obstacle(machine, path, account, WRITE) if account else None
    if account is not None and found is not None:
        yield _obstacle(installation, path, account, found)
        return
    status = machine.status(path)
    if status is None:
        yield _missing(installation, path)
    elif not stat.S_ISSOCK(status.st_mode):
        yield Finding.error(
            path, "is no socket", "Name cleanup's socket on the line of the plugin."
        )
    else:
        yield _connect(path, str(machine.path(path)))
        yield from _running_without_group(installation, path)


def _missing(installation: Installation, path: str) -> Finding:
    if not installation.machine.exists("/usr/sbin/postfix"):
        text = "does not exist: Postfix is not installed"
        return Finding.error(path, text, "Choose another delivery:", "dpkg-reconfigure qpsmtpd")
    return Finding.error(path, "does not exist: Postfix does not run", "Start it:", _START)


def _obstacle(installation: Installation, path: str, account: Account, found: Obstacle) -> Finding:
    if found.kind == "missing":
        return _missing(installation, path)
    if found.kind == "hidden":
        return Finding.notice(path, str(found))
    if found.gid is None or found.gid in account.groups:
        return Finding.error(
            path, str(found), "Restore Postfix's permissions:", "postfix set-permissions"
        )
    group = installation.machine.group_name(found.gid)
    return Finding.error(
        path,
        str(found),
        f"Make {account.name} a member of the group {group}, and restart:",
        f"adduser {account.name} {group}",
        "systemctl restart qpsmtpd.service",
    )


def _connect(subject: str, address: str) -> Finding:
    async def connect() -> None:
        async with await Cleanup.connect(address, TIMEOUT):
            pass

    try:
        asyncio.run(connect())
    except CleanupError as failure:
        return Finding.error(subject, f"nobody answers: {failure}", "Start Postfix:", _START)
    return Finding.ok(subject, "Postfix takes connections")


def _running_without_group(installation: Installation, path: str) -> Iterator[Finding]:
    """The groups of a process stay as they were at its start."""
    parent = installation.machine.status(path.rpartition("/")[0])
    groups = process_groups(installation.machine)
    account = installation.account
    if parent is None or groups is None or account is None or parent.st_mode & 0o001:
        return
    if parent.st_gid in account.groups and parent.st_gid not in groups:
        group = installation.machine.group_name(parent.st_gid)
        text = f"the running daemon was started before its user became a member of {group}"
        yield Finding.error(path, text, "Restart it:", "systemctl restart qpsmtpd.service")
