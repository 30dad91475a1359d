# SPDX-License-Identifier: MIT
"""Machine: what the doctor may see of the machine.  It has no method that changes anything.

No code of a plugin runs as root, nor does what a plugin parses: `as_user` forks a process that
becomes the daemon's user for good, without root's terminal and open files, and root gets text from
it, of limited size and within limited time.  As its ids have changed, the kernel does not let other
processes of that user look into it (dumpable in prctl(2)).
"""

from __future__ import annotations

import fcntl
import grp
import ipaddress
import json
import os
import pwd
import select
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from qpsmtpd.plugin.system import Account, Output

T = TypeVar("T")

#: Seconds that a command may take.
COMMAND_TIMEOUT = 15.0

#: Seconds that a process of the daemon's user may take to answer, and octets that it may send.
CHILD_TIMEOUT = 300.0
MOST_OCTETS = 1 << 20

#: Where programs are looked for: an administrator's PATH may lack the sbin directories.
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """The machine, or the part of a file system below `root`.

    environment: the doctor's.
    """

    def __init__(
        self, root: Path = Path("/"), environment: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.environment = dict(os.environ if environment is None else environment)

    # --- files ------------------------------------------------------------------------------

    def path(self, path: str | Path) -> Path:
        """The path under which we find a file of the machine."""
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
        """The target of a symbolic link; empty if it cannot be read."""
        try:
            return str(self.path(path).readlink())
        except OSError:
            return ""

    def status(self, path: str | Path) -> os.stat_result | None:
        """The status of a file; None if it does not exist.  Raises PermissionError."""
        try:
            return self.path(path).stat()
        except PermissionError:
            raise
        except OSError:
            return None

    def exists(self, path: str | Path) -> bool:
        """Whether a file exists, as far as we may know."""
        with suppress(PermissionError):
            return self.status(path) is not None
        return False

    def existing(self, path: str | Path) -> Path:
        """The path, or the nearest directory above it that exists."""
        path = Path(path)
        return next(filter(self.exists, (path, *path.parents)), Path("/"))

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
        """Run a command that only prints something; None if it cannot be run or is too slow."""
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

    def can_be(self, account: Account | None) -> bool:
        """Whether `as_user` runs anything: for a missing user, root does not."""
        return account is not None or not self.privileged

    def as_user(self, account: Account | None, function: Callable[[], T]) -> T:
        """What a function returns when the user runs it; unless we are root, it runs right here.

        The result comes from the user's process as JSON, so it must be something that JSON can hold
        (tuples become lists): the user may have been taken over, and we may be root.  Raises
        OSError if no result comes.
        """
        if not self.privileged:
            return function()
        if account is None:
            raise OSError("the daemon's user does not exist, and plugins are not run as root")
        return _in_child(account, function)

    # --- network ----------------------------------------------------------------------------

    def local(self, address: str) -> bool:
        """Whether an IP address belongs to this machine: others cannot be bound."""
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


# --- a process of the user ------------------------------------------------------------------


def _in_child(account: Account, function: Callable[[], T]) -> T:
    """Run a function in a process of the user, which is forked before any thread is started."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(account, function, theirs)
    os.close(theirs)
    try:
        answer = _read(ours)
    except OSError as error:
        raise OSError(f"the process of user {account.name} {error}") from None
    finally:
        os.close(ours)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not answer:
        raise OSError(f"nothing can be run as user {account.name}")
    try:
        result: T = json.loads(answer)
    except (ValueError, RecursionError):
        raise OSError(f"user {account.name} does not answer in JSON") from None
    return result


def _answer(account: Account, function: Callable[[], object], pipe: int) -> NoReturn:
    """Become the user, write what the function returns, and end."""
    try:
        pipe = fcntl.fcntl(pipe, fcntl.F_DUPFD, 3)
        _let_go(pipe)
        entry = pwd.getpwnam(account.name)
        os.setgroups(list(account.groups))
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        with os.fdopen(pipe, "wb") as stream:
            stream.write(json.dumps(function()).encode())
    finally:
        os._exit(0)


def _let_go(pipe: int) -> None:
    """Leave root's terminal, where the user could type (TIOCSTI), and close all but the pipe."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in (0, 1, 2, pipe):
            with suppress(OSError):
                os.close(int(entry.name))


def _read(pipe: int) -> bytes:
    """All that comes out of a pipe.  Raises OSError if that is too much, or takes too long."""
    end = time.monotonic() + CHILD_TIMEOUT
    answer = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise OSError("does not end")
        block = os.read(pipe, 65536)
        answer += block
        if len(answer) > MOST_OCTETS:
            raise OSError("answers without end")
        if not block:
            return answer
