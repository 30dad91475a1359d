# SPDX-License-Identifier: MIT
"""Throw-away Debian systems: cached as tar files, entered with chroot, booted with systemd-nspawn.

    with unpacked(layer_tar("trixie", ("postfix", "swaks"), preseed)) as system:
        system.copy_checkout()
        outcome = system.boot(("/usr/bin/python3", "-m", "tests.packaging.guest.hand_over"))

Every mount, process and host name belongs to name spaces that end with the command which made
them, so nothing is left behind, however this program ends.  Needs root on Debian.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.isolation import NAMESPACES, control_group, locked, run, temporary_tree

RELEASES = ("bookworm", "trixie")
HOST_NAME = "debian.example.org"
CHECKOUT = Path(__file__).resolve().parent.parent
GUEST_CHECKOUT = "/opt/qpsmtpd"
GUEST_RESULTS = "/var/lib/qpsmtpd-test"

# systemd and D-Bus are not part of a minimal Debian, and every system here can be booted.
BASE_PACKAGES = "ca-certificates,dbus,systemd-sysv"
_INSTALL = ("apt-get", "-qq", "install", "--yes", "--no-install-recommends")
HOST_TOOLS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}

PLENTY = 3 * 1024**3  # bytes; a system takes a tenth of it
INSTALL_TIMEOUT = 600.0  # seconds, one run of mmdebstrap or apt-get
UNPACK_TIMEOUT = 300.0  # seconds, one run of tar
BOOT_TIMEOUT = 120.0  # seconds, from systemd's start to the end of the guest's script
SHUTDOWN_TIMEOUT = 30.0  # seconds a guest has to collect its journal and power off
CACHE_LIFETIME = 7 * 86400.0  # seconds; older systems lack the archive's newest updates

# The tree becomes a mount of its own, as the file system it is on may forbid set-uid programs.
_OWN_MOUNT = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,suid,dev,exec "$root"
"""
_IN_CHROOT = f"""{_OWN_MOUNT}
hostname "$(cat "$root/etc/hostname")"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
status=0
chroot "$root" "$@" || status=$?
exit $status
"""
_IN_NSPAWN = f"""{_OWN_MOUNT}
echo $$ >"$1/cgroup.procs"
mount -t cgroup2 cgroup2 /sys/fs/cgroup  # a mixed hierarchy would get groups nobody removes
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --keep-unit --register=no \
  --directory="$root" --machine=guest --private-network --resolv-conf=off --timezone=off \
  --link-journal=no --console=pipe --boot
"""
_TEST_UNIT = """\
[Unit]
Description=The tests of this system
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
WorkingDirectory=-{checkout}
Environment=PYTHONPATH={checkout} PYTHONDONTWRITEBYTECODE=1
ExecStart={command}
ExecStopPost=/bin/sh -c "journalctl --boot --no-pager --output=short-precise >{results}/journal"
TimeoutStartSec={timeout}

[Install]
WantedBy=multi-user.target
"""
_REPORT = re.compile(r": (not )?ok \S")  # as the journal shows the line of a finished check


def unavailable() -> str | None:
    """Why no Debian system can be made here, in one line; None when it can."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        return None
    return "needs root on Debian, to install and boot Debian systems"


@dataclass(frozen=True)
class Outcome:
    """What the script in a booted system reported, and the logs that explain it."""

    results: dict[str, str]  # check → "" when passed, else the reason
    log: str

    def failure(self, check: str) -> str | None:
        """Why this check did not pass, with its part of the log; None when it passed."""
        reason = self.results.get(check, "the guest did not report this check")
        return f"{check}: {reason}\n{self._log_of(check)}" if reason else None

    def _log_of(self, check: str) -> str:
        lines = self.log.splitlines()
        reports = [number for number, line in enumerate(lines) if _REPORT.search(line)]
        for before, number in zip([0, *reports], reports, strict=False):
            if f"ok {check}" in lines[number]:
                return "\n".join(lines[before : number + 1])
        return "\n".join(lines[-100:])


@dataclass(frozen=True)
class System:
    """An unpacked Debian system, to be changed at will and thrown away."""

    root: Path

    def run(self, *command: str, stdin: str = "", timeout: float = INSTALL_TIMEOUT) -> str:
        """Run a command in this system without booting it; return its output.

        Raises RuntimeError with the whole output when it fails or takes too long (seconds).
        """
        return run(self.command(*command), timeout, stdin)

    def command(self, *command: str) -> tuple[str, ...]:
        """The command that runs this one in this system."""
        return (*NAMESPACES, "sh", "-c", _IN_CHROOT, "sh", str(self.root), *command)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Make a file, and the directories above it, in this system."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def install(self, packages: Sequence[str], preseed: str = "") -> None:
        """Install packages (names, or ./files of this system) without starting their services."""
        shutil.copyfile("/etc/resolv.conf", self.root / "etc/resolv.conf")
        if preseed:
            self.run("debconf-set-selections", stdin=preseed)
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        self.run("apt-get", "-qq", "update")
        self.run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages)
        (self.root / "usr/sbin/policy-rc.d").unlink()

    def copy_checkout(self, destination: str = GUEST_CHECKOUT) -> None:
        """Copy the project's working tree, without what is only there for development."""
        shutil.copytree(CHECKOUT, self.root / destination.lstrip("/"), ignore=_not_project)

    def boot(self, command: Sequence[str], timeout: float = BOOT_TIMEOUT) -> Outcome:
        """Boot, run one command once everything has started, power off, return what it found.

        The command reports into GUEST_RESULTS/results, one line a check: `ok NAME` or
        `not ok NAME REASON`; whatever else it leaves in that directory is part of the log.
        The system has a network of its own with nothing but the loopback device.
        """
        results = self.root / GUEST_RESULTS.lstrip("/")
        results.mkdir(parents=True)
        self._prepare_boot(command, timeout)
        with control_group() as group:
            nspawn = (*NAMESPACES, "sh", "-c", _IN_NSPAWN, "sh", str(self.root), str(group))
            console = run(nspawn, timeout + SHUTDOWN_TIMEOUT, check=False)
        return _collect(results, console)

    def _prepare_boot(self, command: Sequence[str], timeout: float) -> None:
        unit = _TEST_UNIT.format(
            checkout=GUEST_CHECKOUT,
            command=" ".join(command),
            results=GUEST_RESULTS,
            timeout=int(timeout),
        )
        self.write("/etc/systemd/system/qpsmtpd-test.service", unit)
        self.run("systemctl", "enable", "--quiet", "qpsmtpd-test.service")
        # Nobody answers there, so that every look-up fails at once instead of after seconds.
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")


def base_tar(release: str) -> Path:
    """A minimal, bootable Debian as a tar file, from the cache or built (about half a minute)."""
    return _cached(f"{release}.tar", lambda tar: _bootstrap(release, tar))


def layer_tar(release: str, packages: Sequence[str], preseed: str = "", script: str = "") -> Path:
    """The base system with these packages installed, answers to debconf given in `preseed`.

    script: what else is to be done in it, with the network and apt's lists there (sh -e).
    """
    recipe = "\n".join((*packages, preseed, script) if script else (*packages, preseed))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]

    def build(tar: Path) -> None:
        with unpacked(base_tar(release)) as system:
            system.install(packages, preseed)
            system.run("sh", "-ec", script)
            system.run("sh", "-c", "apt-get clean && rm -r /var/lib/apt/lists/*")
            run(
                ("tar", "-C", str(system.root), *_TAR_OPTIONS, "-cf", str(tar), "."), UNPACK_TIMEOUT
            )

    return _cached(f"{release}-{packages[0]}-{digest}.tar", build)


@contextmanager
def unpacked(tar: Path) -> Iterator[System]:
    """A system of one's own, deleted at the end."""
    with temporary_tree(_tree_directory(), f"{tar.stem}-") as home:
        yield _unpack(tar, home / "root")


_TAR_OPTIONS = ("--numeric-owner", "--xattrs", "--xattrs-include=*")


def _unpack(tar: Path, root: Path) -> System:
    root.mkdir(mode=0o755)
    root.parent.chmod(0o755)
    run(("tar", "-C", str(root), *_TAR_OPTIONS, "-xpf", str(tar)), UNPACK_TIMEOUT)
    system = System(root)
    system.write("/etc/hostname", f"{HOST_NAME}\n")
    system.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {HOST_NAME}\n")
    return system


def _bootstrap(release: str, tar: Path) -> None:
    install_on_host(HOST_TOOLS)
    run(
        (
            *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
            f"--include={BASE_PACKAGES}",
            "--dpkgopt=force-unsafe-io",  # nothing here has to survive a power cut
            '--aptopt=Acquire::Languages "none"',
            *(release, str(tar)),
        ),
        INSTALL_TIMEOUT,
    )


def install_on_host(tools: Mapping[str, str]) -> None:
    """Have these programs on this machine, each from its package.  Raises RuntimeError."""
    missing = [package for tool, package in tools.items() if not shutil.which(tool)]
    if missing:
        with _package_lists():
            run((*_INSTALL, *missing), INSTALL_TIMEOUT)


def unpack_package(package: str, target: Path) -> None:
    """Have a package, and what it needs beyond what is installed, unpacked but not installed.

    Nothing of it is started, as a service would be.  Raises RuntimeError.
    """
    target.parent.mkdir(exist_ok=True)
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as work:
                _download_and_unpack(package, Path(work)).rename(target)


def _download_and_unpack(package: str, work: Path) -> Path:
    archives, root = work / "archives", work / "root"
    (archives / "partial").mkdir(parents=True)
    where = ("-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root")
    with _package_lists():
        run((*_INSTALL, *where, "--download-only", package), INSTALL_TIMEOUT)
    for archive in archives.glob("*.deb"):
        run(("dpkg-deb", "--extract", str(archive), str(root)), INSTALL_TIMEOUT)
    return root


@contextmanager
def _package_lists() -> Iterator[None]:
    """Fresh lists of packages.  apt does not wait for another apt that fetches them: we do."""
    with locked(cache_directory() / "apt.lock"):
        run(("apt-get", "-qq", "update"), INSTALL_TIMEOUT)
        yield


def _cached(name: str, build: Callable[[Path], None]) -> Path:
    """The cache's file of this name, built first when missing or old; one builder at a time."""
    tar = cache_directory() / name
    with locked(tar.with_suffix(".lock")):
        if not tar.exists() or time.time() - tar.stat().st_mtime > CACHE_LIFETIME:
            _prune(tar.parent)
            unfinished = tar.with_suffix(".new")
            build(unfinished)
            unfinished.rename(tar)
    return tar


def _prune(cache: Path) -> None:
    """Remove tar files nobody uses any more."""
    for tar in cache.glob("*.tar"):
        if time.time() - tar.stat().st_mtime > 2 * CACHE_LIFETIME:
            tar.unlink()


def _tree_directory() -> Path:
    """Where unpacked systems live: in memory where there is plenty, which is far faster."""
    memory = Path("/dev/shm")
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    available = int(found[1]) * 1024 if found else 0
    if memory.is_mount() and min(available, shutil.disk_usage(memory).free) > PLENTY:
        return memory / "qpsmtpd-tests"
    return cache_directory() / "running"


def cache_directory() -> Path:
    """Where everything is kept that takes long to make."""
    path = Path(os.environ.get("QPSMTPD_TEST_CACHE", "/var/cache/qpsmtpd-tests"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def _not_project(directory: str, names: list[str]) -> set[str]:
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info")(directory, names)
    if Path(directory) == CHECKOUT:
        ignored |= {".git", ".venv", ".cache", ".hypothesis", "build", "dist", "run"} & set(names)
    return ignored


def _collect(results: Path, console: str) -> Outcome:
    logs = [f"--- console\n{console}"]
    for path in sorted(results.iterdir()):
        logs.append(f"--- {path.name}\n{path.read_text(errors='replace')}")
    return Outcome(_parse_results(results / "results"), "\n".join(logs))


def _parse_results(path: Path) -> dict[str, str]:
    results: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        passed = line.startswith("ok ")
        name, _, reason = line.removeprefix("not ").removeprefix("ok ").partition(" ")
        results[name] = "" if passed else reason or "failed"
    return results
