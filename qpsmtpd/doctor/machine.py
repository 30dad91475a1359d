# SPDX-License-Identifier: MIT
"""System: what the doctor may see of the machine.  It has no method that changes anything."""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import pwd
import socket
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Seconds that a command may take.
COMMAND_TIMEOUT = 15.0

#: Where programs are looked for: an administrator's PATH may lack the sbin directories.
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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


class Machine:
    """The machine, or the part of a file system below `root`.

    environment: of the doctor.
    """

    def __init__(
        self, root: Path = Path("/"), environment: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.environment = dict(os.environ if environment is None else environment)

    # --- files ------------------------------------------------------------------------------

    def path(self, path: str | Path) -> Path:
        """Where a path of the machine is for us."""
        return self.root / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        """The text of a file; empty when it cannot be read."""
        try:
            return self.path(path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def names(self, path: str | Path) -> list[str]:
        """What is in a directory, sorted; empty when it cannot be read."""
        try:
            return sorted(entry.name for entry in self.path(path).iterdir())
        except OSError:
            return []

    def link(self, path: str | Path) -> str:
        """Where a symbolic link leads; empty when it cannot be read."""
        try:
            return str(self.path(path).readlink())
        except OSError:
            return ""

    def status(self, path: str | Path) -> os.stat_result | None:
        """The status of a file, None when there is none.  Raises PermissionError."""
        try:
            return self.path(path).stat()
        except PermissionError:
            raise
        except OSError:
            return None

    def exists(self, path: str | Path) -> bool:
        """Whether a file is there, as far as we may know."""
        with suppress(PermissionError):
            return self.status(path) is not None
        return False

    def runnable(self, path: str | Path) -> bool:
        """Whether a file is a program."""
        with suppress(PermissionError):
            status = self.status(path)
            return (
                status is not None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 > 0
            )
        return False

    # --- processes --------------------------------------------------------------------------

    def run(self, *command: str) -> Output | None:
        """Run a command that only tells something; None when it cannot be run or is too slow."""
        environment = {**self.environment, "PATH": _SEARCH_PATH, "LC_ALL": "C"}
        try:
            done = subprocess.run(  # noqa: S603 (all commands are ours)
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Output(done.returncode, done.stdout.decode("utf-8", "replace").strip())

    @property
    def systemd(self) -> bool:
        """Whether systemd runs the machine (sd_booted(3))."""
        return self.exists("/run/systemd/system")

    # --- users ------------------------------------------------------------------------------

    @property
    def uid(self) -> int:
        """Who we are."""
        return os.geteuid()

    @property
    def privileged(self) -> bool:
        """Whether we see everything."""
        return self.uid == 0

    def account(self, name: str) -> Account | None:
        """A user by its name."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return Account(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    def group(self, name: str) -> int | None:
        """The id of a group by its name."""
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def group_name(self, gid: int) -> str:
        """The name of a group by its id."""
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            return str(gid)

    def as_user(self, account: Account | None, function: Callable[[], T]) -> T:
        """What a function returns when the user runs it; we, if we cannot become that user.

        From the user's process it comes as JSON, so the function returns what JSON can hold (tuples
        become lists): the user may have been taken over, and we may be root.
        """
        if account is None or not self.privileged:
            return function()
        return _in_child(account, function)

    # --- network ----------------------------------------------------------------------------

    def local(self, address: str) -> bool:
        """Whether an IP address is one of this machine: only those can be bound to."""
        try:
            version = ipaddress.ip_address(address).version
        except ValueError:
            return False
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
            return True
        return False

    def public_addresses(self) -> list[str]:
        """The addresses of this machine other than loopback ones."""
        output = self.run("hostname", "-I")
        return output.text.split() if output else []


def _in_child(account: Account, function: Callable[[], T]) -> T:
    """Run a function in a process of the user, which is forked before any thread is started."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            entry = pwd.getpwnam(account.name)
            os.setgroups(list(account.groups))
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            with os.fdopen(theirs, "wb") as pipe:
                pipe.write(json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        raise OSError(f"nothing can be run as user {account.name}")
    try:
        result: T = json.loads(answer)
    except ValueError:
        raise OSError(f"user {account.name} does not answer in JSON") from None
    return result
