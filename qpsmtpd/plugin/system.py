# SPDX-License-Identifier: MIT
"""System: the machine around the daemon, as `qpsmtpd doctor` shows it to plugins (`examine`).

It has no method that changes anything.  Whatever it tells is seen by the daemon's user, for no
plugin is examined by root.
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

    path: where the way ends.
    kind: it does not exist; its permissions forbid it; or we ourselves may not look.
    gid: the group that would have got through, None when no group would.
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
        """Where a file of the machine is for us: tests have machines that are directories."""

    def read(self, path: str | Path) -> str:
        """The text of a file; empty when it cannot be read."""

    def status(self, path: str | Path) -> os.stat_result | None:
        """The status of a file, None when there is none.  Raises PermissionError."""

    def exists(self, path: str | Path) -> bool:
        """Whether a file is there, as far as we may know."""

    def existing(self, path: str | Path) -> Path:
        """The path, or the nearest directory above it that exists."""

    def runnable(self, path: str | Path) -> bool:
        """Whether a file is a program."""

    def run(self, *command: str) -> Output | None:
        """Run a command that only tells something; None when it cannot be run or is too slow."""

    def group_name(self, gid: int) -> str:
        """The name of a group by its id."""


class System(Facts, Protocol):
    """The machine around the daemon, for the method `examine` of a plugin."""

    @property
    def user(self) -> str:
        """The name of the daemon's user."""

    @property
    def account(self) -> Account | None:
        """The daemon's user, None when there is no such user."""

    def obstacle(self, path: str | Path, wanted: int) -> Obstacle | None:
        """What keeps the daemon's user from a file, None when nothing does.

        wanted: os.R_OK, os.W_OK and os.X_OK, added up.
        """

    def confinement(self, path: str | Path) -> Finding | None:
        """What is to be said when the daemon's unit does not let it write to a directory."""

    def set_id_problem(self, program: str) -> Finding | None:
        """What keeps a set-id program from its rights when the daemon wants it to run."""

    def running_groups(self) -> frozenset[int] | None:
        """The groups of the daemon that runs now, None when it does not run."""

    def listens(self, host: str, port: int) -> str:
        """Where the daemon is to listen itself, if that is this address; else empty."""

    def trusting(self, host: str) -> str:
        """The mail system that relays for whoever connects from this machine, if the host is this
        machine; else empty."""
