# SPDX-License-Identifier: MIT
"""System: the machine around the daemon, as `qpsmtpd doctor` shows it to plugins (`examine`).

It has no method that changes anything.  It shows what the daemon's user can see, since plugins are
not examined as root.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from qpsmtpd.plugin.finding import Finding


@dataclass(frozen=True, slots=True)
class Account:
    """A user; `groups` are the ids of all its groups."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed on standard output, and its exit status."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a user cannot get at a file.

    path: the file or directory that is in the way.
    kind: it does not exist; its permissions forbid it; or we ourselves may not look.
    gid: the group whose members could get through; None if no group could.
    """

    path: Path
    kind: Literal["missing", "denied", "hidden"]
    text: str
    gid: int | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.text}"


class Facts(Protocol):
    """What can be seen of a machine."""

    def path(self, path: str | Path) -> Path:
        """The path under which we find a file of the machine: in tests, that is a directory."""

    def read(self, path: str | Path) -> str:
        """The text of a file; empty if it cannot be read."""

    def status(self, path: str | Path) -> os.stat_result | None:
        """The status of a file; None if it does not exist.  Raises PermissionError."""

    def exists(self, path: str | Path) -> bool:
        """Whether a file exists, as far as we may know."""

    def existing(self, path: str | Path) -> Path:
        """The path, or the nearest directory above it that exists."""

    def runnable(self, path: str | Path) -> bool:
        """Whether a file is a program."""

    def run(self, *command: str) -> Output | None:
        """Run a command that only prints something; None if it cannot be run or is too slow."""

    def group_name(self, gid: int) -> str:
        """The name of a group by its id."""


class System(Facts, Protocol):
    """The machine around the daemon, for the method `examine` of a plugin."""

    @property
    def user(self) -> str:
        """The name of the daemon's user."""

    @property
    def account(self) -> Account | None:
        """The daemon's user; None if it does not exist."""

    def obstacle(self, path: str | Path, wanted: int) -> Obstacle | None:
        """What keeps the daemon's user from a file; None if nothing does.

        wanted: a combination of os.R_OK, os.W_OK and os.X_OK.
        """

    def confinement(self, path: str | Path) -> Finding | None:
        """The finding if the daemon's unit does not let it write to a directory; else None."""

    def set_id_problem(self, program: str) -> Finding | None:
        """What keeps a set-id program from its privileges when the daemon wants to run it.

        program: its path, alone or with the arguments that it must be run with.
        """

    def running_groups(self) -> frozenset[int] | None:
        """The groups of the running daemon; None if it is not running."""

    def listens(self, host: str, port: int) -> str:
        """Where the daemon itself is to listen, if that overlaps this address; else empty."""

    def trusting(self, host: str) -> str:
        """The mail system that relays for all clients on this machine, if the host is this machine;
        else empty."""
