# SPDX-License-Identifier: MIT
"""Commands that leave nothing behind: name spaces, control groups, locks, careful deletion."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# The command's mounts, processes and host name end with it, and it ends with this program.
NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--"),
)
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
}


def run(command: Sequence[str], timeout: float, stdin: str = "", check: bool = True) -> str:
    """Run a command with a clean environment; return what it printed.

    Raises RuntimeError with all of that when it fails or takes longer than `timeout` seconds;
    with check=False that is returned as well.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            env=ENVIRONMENT,
        )
        output, ending = done.stdout, f"ended with {done.returncode}"
        failed = done.returncode != 0
    except subprocess.TimeoutExpired as expired:
        output, ending, failed = expired.stdout or b"", f"killed after {timeout:.0f} s", True
    report = output.decode(errors="replace")
    if failed:
        report += f"\n{' '.join(command)!r} {ending}\n"
        if check:
            raise RuntimeError(report)
    return report


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def temporary_tree(parent: Path, prefix: str) -> Iterator[Path]:
    """A directory that is deleted at the end; those of programs that were killed go as well."""
    parent.mkdir(mode=0o755, exist_ok=True)
    if parent.is_symlink() or parent.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{parent} belongs to somebody else")
    with locked(parent.with_suffix(".lock")):
        for tree in parent.iterdir():
            _delete_abandoned(tree)
        home = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        in_use = os.open(home, os.O_RDONLY)
        fcntl.flock(in_use, fcntl.LOCK_EX)
    try:
        yield home
    finally:
        delete_tree(home)
        os.close(in_use)


def _delete_abandoned(tree: Path) -> None:
    try:
        in_use = os.open(tree, os.O_RDONLY)
    except FileNotFoundError:
        return  # its program has deleted it just now
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if tree.exists():
            delete_tree(tree)
    except BlockingIOError:
        pass
    finally:
        os.close(in_use)


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group for one boot: systems booted at the same time must not share theirs."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next(mount[1] for mount in mounts if mount[2] == "cgroup2")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
    prefix = f"qpsmtpd-test-{os.getpid()}-"
    group = Path(tempfile.mkdtemp(prefix=prefix, dir=Path(root) / own))
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        _patiently(lambda: _remove_groups(group))


def _remove_groups(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        Path(directory).rmdir()


def _patiently(action: Callable[[], None]) -> None:
    """Repeat what fails while processes that were just killed still hold on to something."""
    attempts = 50
    for attempt in range(1, attempts + 1):
        try:
            action()
            break
        except OSError:
            if attempt == attempts:
                raise
            time.sleep(0.1)


def delete_tree(tree: Path) -> None:
    """Delete a tree, unless something is still mounted in it: that would be deleted as well."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [mount for mount in mounts if Path(mount).is_relative_to(tree)]
    if inside:
        raise RuntimeError(f"not deleting {tree}: still mounted: {', '.join(inside)}")
    _patiently(lambda: shutil.rmtree(tree))
