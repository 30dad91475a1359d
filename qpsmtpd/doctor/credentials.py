# SPDX-License-Identifier: MIT
"""Credentials: files that systemd reads as root and passes to the service (systemd.exec(5)).

Outside of the service they are not there.  To see the configuration as the daemon sees it, they are
put together again: from the files that the unit names, as they would be passed at the next start,
and for the rest from what was passed to the daemon that is running.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qpsmtpd.config.problems import Problem
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.units import SERVICE, Unit

#: Where systemd puts the credentials of the running service.
CREDENTIALS = f"/run/credentials/{SERVICE}"

VARIABLE = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True)
class Credentials:
    """The environment in which plugins find the credentials, and where these really are.

    sources: by the paths that plugins see.
    """

    environment: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)

    def explain(self, problem: Problem) -> Problem:
        """The problem with the names of files that the administrator knows."""
        where, text = problem.where, problem.text
        for seen, source in self.sources.items():
            where, text = where.replace(seen, source), text.replace(seen, source)
        denied = (
            os.strerror(errno.EACCES) in text
            and where in self.sources.values()
            and os.geteuid() != 0
        )
        hint = f"; systemd reads it for {SERVICE}, run this as root" if denied else ""
        return Problem(where, f"{text}{hint}", problem.severity)


@contextmanager
def credentials_of_service(machine: Machine) -> Iterator[Credentials]:
    """The credentials of the service, unless we have been given some by systemd ourselves."""
    sources = {} if VARIABLE in machine.environment else _sources(machine)
    if not sources:
        yield Credentials(machine.environment)
        return
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-credentials-") as directory:
        seen = {str(Path(directory, name)): path for name, path in sources.items()}
        for link, path in seen.items():
            Path(link).symlink_to(machine.path(path))
        yield Credentials({**machine.environment, VARIABLE: directory}, seen)


def passed(machine: Machine) -> dict[str, str]:
    """The files that the unit has systemd pass to the service, by the names of the credentials."""
    words = [value.partition(":") for value in Unit(machine, SERVICE).values("LoadCredential")]
    return {
        name: path for name, _, path in words if Path(name).name == name and path.startswith("/")
    }


def awaited(machine: Machine, path: str, environment: Mapping[str, str]) -> str:
    """What to say of a file that is missing only because the service, which gets it from systemd,
    is not running; empty if that is not so."""
    source = passed(machine).get(Path(path).name)
    if source is None or VARIABLE in environment:
        return ""
    return f"systemd passes {source} to {SERVICE} in its place, which is not running"


def _sources(machine: Machine) -> dict[str, str]:
    """What the unit names, or as it was passed to the service if only that can be read."""
    running = {name: f"{CREDENTIALS}/{name}" for name in machine.names(CREDENTIALS)}
    named = passed(machine)
    readable = {name: path for name, path in named.items() if _readable(machine, path)}
    return named | running | readable


def _readable(machine: Machine, path: str) -> bool:
    return os.access(machine.path(path), os.R_OK)
