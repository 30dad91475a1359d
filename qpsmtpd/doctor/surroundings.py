# SPDX-License-Identifier: MIT
"""Surroundings: what plugins may see of an installation (plugin/system.py)."""

from __future__ import annotations

import os
from pathlib import Path

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.access import obstacle
from qpsmtpd.doctor.confinement import read_only, set_id_problem
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.overlaps import is_loopback, overlap
from qpsmtpd.doctor.postfix import Postfix
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Account, Obstacle, Output


class Surroundings:
    """Implements plugin.system.System for one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._machine = installation.machine

    @property
    def user(self) -> str:
        """The name of the daemon's user."""
        return self._installation.user

    @property
    def account(self) -> Account | None:
        """The daemon's user; None if it does not exist."""
        return self._installation.account

    def path(self, path: str | Path) -> Path:
        """The path under which we find a file of the machine."""
        return self._machine.path(path)

    def read(self, path: str | Path) -> str:
        """The text of a file; empty when it cannot be read."""
        return self._machine.read(path)

    def status(self, path: str | Path) -> os.stat_result | None:
        """The status of a file; None if it does not exist.  Raises PermissionError."""
        return self._machine.status(path)

    def exists(self, path: str | Path) -> bool:
        """Whether a file exists, as far as we may know."""
        return self._machine.exists(path)

    def existing(self, path: str | Path) -> Path:
        """The path, or the nearest directory above it that exists."""
        return self._machine.existing(path)

    def runnable(self, path: str | Path) -> bool:
        """Whether a file is a program."""
        return self._machine.runnable(path)

    def run(self, *command: str) -> Output | None:
        """Run a command that only prints something."""
        return self._machine.run(*command)

    def group_name(self, gid: int) -> str:
        """The name of a group by its id."""
        return self._machine.group_name(gid)

    def obstacle(self, path: str | Path, wanted: int) -> Obstacle | None:
        """What keeps the daemon's user from a file; None if nothing does."""
        account = self.account
        return obstacle(self._machine, path, account, wanted) if account else None

    def confinement(self, path: str | Path) -> Finding | None:
        """The finding if the daemon's unit does not let it write to a directory; else None."""
        return read_only(self._machine, Path(path))

    def set_id_problem(self, program: str) -> Finding | None:
        """What keeps a set-id program from its privileges when the daemon wants to run it."""
        return set_id_problem(self._machine, program, self._installation.running)

    def running_groups(self) -> frozenset[int] | None:
        """The groups of the running daemon; None if it is not running."""
        running = self._installation.running
        return running.groups if running else None

    def listens(self, host: str, port: int) -> str:
        """Where the daemon itself is to listen, if that overlaps this address; else empty."""
        if not self._machine.local(host):
            return ""
        address = ListenAddress(host, port)
        return next((str(ours) for ours in self._installation.wanted if overlap(ours, address)), "")

    def trusting(self, host: str) -> str:
        """The mail system that relays for this machine, if the host is this machine; else empty."""
        postfix = Postfix.read(self._machine) if is_loopback(host) else None
        return "Postfix" if postfix and postfix.trusts_loopback else ""
