# SPDX-License-Identifier: MIT
"""A postinst that was killed: `dpkg --configure -a` ends where an undisturbed one would have.

The kill comes before each step that changes the system: every program that postinst runs, and
every file, owner and mode that its Python half changes.  What is in the way of them is not in the
package: programs of the same names that come first in PATH, and a hook in Python's own start.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian_system import RELEASES, System
from tests.isolation import run, temporary_tree
from tests.packaging import systems

pytestmark = pytest.mark.real_systems

ANSWERS = """\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/rcpthosts string example.org
"""
STEPS = "/run/steps"  # holds the number of the next step, the one to be killed at, and a log
PROGRAMS = (
    *("ucf", "ucfr", "systemd-sysusers", "systemd-tmpfiles", "deb-systemd-helper", "adduser"),
    *("dpkg-statoverride", "update-rc.d", "dpkg-trigger", "py3compile", "mv"),
)
#: Everything from dpkg downwards is killed, as by a machine that goes down.
PROGRAM = """\
#!/bin/sh
read -r step <{steps}/next
echo $((step + 1)) >{steps}/next
echo "$step {name} $*" >>{steps}/log
read -r last <{steps}/last
[ "$step" != "$last" ] && [ "{name} $*" != "$last" ] || kill -9 0
exec {path} "$@"
"""
HOOK = """\
import os, pathlib, sys

STEPS = pathlib.Path("{steps}")
CHANGES = "os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rename", "subprocess.Popen"
busy = []

def hook(event, arguments):
    writes = event == "open" and type(arguments[2]) is int and arguments[2] & os.O_ACCMODE
    nowhere = str(arguments[0]).startswith(("/tmp/", "/dev/")) or type(arguments[0]) is int
    if (writes and not nowhere and not busy) or (event in CHANGES and not nowhere):
        busy.append(event)
        step = int((STEPS / "next").read_text())
        (STEPS / "next").write_text(f"{{step + 1}}\\n")
        with (STEPS / "log").open("a") as log:
            print(step, event, *arguments, file=log)
        if str(step) == (STEPS / "last").read_text().strip():
            os.killpg(0, 9)
        busy.clear()

if "maintscripts.configure" in sys.orig_argv:
    sys.addaudithook(hook)
"""
EVERY = 10  # of about 45 steps of a configuration, as all of them take minutes

FULL_DISK = """
cp -a /etc/qpsmtpd /run/before
mount -t tmpfs -o size=512k,mode=755 tmpfs /etc/qpsmtpd
cp -a /run/before/. /etc/qpsmtpd
cat /dev/zero >/etc/qpsmtpd/filler 2>/dev/null || true
if dpkg --configure --pending; then exit 1; fi
dpkg-query --show --showformat='${Status}\\n' qpsmtpd
rm /etc/qpsmtpd/filler
for name in debian-queue-method debian-rcpthosts debconf-settings; do
    cmp /run/before/$name /etc/qpsmtpd/$name
done
dpkg --configure --pending
cp -a /etc/qpsmtpd/. /run/before
umount /etc/qpsmtpd
cp -a /run/before/. /etc/qpsmtpd
rm -r /run/before
"""
READ_ONLY = """
mount --bind /etc /etc
mount -o remount,bind,ro /etc
if dpkg --configure --pending; then exit 1; fi
dpkg-query --show --showformat='${Status}\\n' qpsmtpd
umount /etc
dpkg --configure --pending
"""

#: Where the package's scripts leave something.
TOUCHED = (
    *("etc", "run", "srv", "var/lib/dpkg/statoverride", "var/lib/qpsmtpd", "var/log/qpsmtpd"),
    *("var/lib/systemd/deb-systemd-helper-enabled", "var/lib/ucf", "var/spool/qpsmtpd"),
)
#: Copies that adduser and ucf keep of their own files, the day of a password that is none, what
#: mount notes, and what deb-systemd-helper notes when a package is configured a second time.
is_not_compared = re.compile(
    r"etc/(group|gshadow|passwd|shadow)-|etc/shadow|run/(mount|steps).*"
    r"|var/lib/ucf/(hashfile|registry)\.[0-9]|.*\.dsh-also"
).fullmatch


@contextmanager
def unpacked_package(release: str, *, upgrade: bool) -> Iterator[System]:
    """A system beside Postfix where dpkg has only to configure the package, which will start."""
    tar = (systems.old_layer if upgrade else systems.layer)(release, "postfix")
    with systems.with_package(tar) as system:
        system.run("debconf-set-selections", stdin=ANSWERS)
        if upgrade:
            system.run("dpkg-reconfigure", "-fnoninteractive", "qpsmtpd")
        system.run("dpkg", "--unpack", *systems.GUEST_PACKAGES)
        count_steps(system)
        yield system


def count_steps(system: System) -> None:
    """Put what counts the steps in their way."""
    for name in PROGRAMS:
        path = system.run("sh", "-c", f"command -v {name}").strip()
        program = PROGRAM.format(name=name, path=path, steps=STEPS)
        system.write(f"/usr/local/sbin/{name}", program, 0o755)
    system.write(f"{STEPS}/next", "1\n")
    system.write("/usr/lib/python3/dist-packages/steps.py", HOOK.format(steps=STEPS))
    system.write("/usr/lib/python3/dist-packages/steps.pth", "import steps\n")


def configure(system: System, last: int = 0) -> str:
    """Let dpkg configure what is to be configured, up to a step.  Raises RuntimeError."""
    system.write(f"{STEPS}/next", "1\n")
    system.write(f"{STEPS}/last", f"{last}\n")
    system.write(f"{STEPS}/log", "")
    return system.run("setsid", "--wait", "dpkg", "--configure", "--pending")


def steps_of(system: System) -> list[str]:
    return (system.root / STEPS.lstrip("/") / "log").read_text().splitlines()


@contextmanager
def copy_of(system: System) -> Iterator[System]:
    with temporary_tree(system.root.parents[1], "copy-") as home:
        run(("cp", "-a", str(system.root), str(home / "root")), timeout=60)
        home.chmod(0o755)
        yield System(home / "root")


def state(system: System) -> dict[str, str]:
    """Every file and directory that counts, with owner, mode and contents; and what dpkg says."""
    show = "--showformat=${Status} ${Version}"
    found = {"dpkg": system.run("dpkg-query", "--show", show, "qpsmtpd")}
    for top in TOUCHED:
        for path in (system.root / top, *(system.root / top).rglob("*")):
            name = str(path.relative_to(system.root))
            if (path.exists() or path.is_symlink()) and not is_not_compared(name):
                found[name] = describe(path)
    return found


def describe(path: Path) -> str:
    status = path.lstat()
    contents = ""
    if path.is_symlink():
        contents = str(path.readlink())
    elif path.is_file():
        contents = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{status.st_uid} {status.st_gid} {status.st_mode:o} {contents}"


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What is different, with both sides."""
    names = before.keys() | after.keys()
    pairs = {name: (before.get(name, "nothing"), after.get(name, "nothing")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize(
    ("release", "upgrade"), [("bookworm", True), ("trixie", False)], ids=["upgrade", "new"]
)
def test_what_was_killed_is_completed(release: str, upgrade: bool) -> None:
    with unpacked_package(release, upgrade=upgrade) as system:
        with copy_of(system) as undisturbed:
            configure(undisturbed)
            steps = steps_of(undisturbed)
            expected = state(undisturbed)
        assert len(steps) > 3 * EVERY
        for number in range(EVERY // 2, len(steps) + 1, EVERY):
            with copy_of(system) as killed:
                with pytest.raises(RuntimeError):
                    configure(killed, last=number)
                assert len(steps_of(killed)) == number
                configure(killed)
                assert changes(expected, state(killed)) == {}, steps[number - 1]


@pytest.mark.parametrize("release", RELEASES)
def test_answers_of_a_killed_dpkg_reconfigure_count(release: str) -> None:
    """When it is repeated, and nothing is said again: the units are still on, and go off."""
    with unpacked_package(release, upgrade=False) as system:
        configure(system)
        assert enabled_units(system) == {"qpsmtpd.service", "qpsmtpd.socket"}
        system.run("debconf-set-selections", stdin="qpsmtpd qpsmtpd/startup_enabled boolean false")
        reconfigure = ("setsid", "--wait", "dpkg-reconfigure", "--frontend=noninteractive")
        last = "deb-systemd-helper disable qpsmtpd.service"
        system.write(f"{STEPS}/last", f"{last}\n")
        with pytest.raises(RuntimeError):
            system.run(*reconfigure, "qpsmtpd")
        assert steps_of(system)[-1].endswith(last)
        assert enabled_units(system) == {"qpsmtpd.service", "qpsmtpd.socket"}
        system.write(f"{STEPS}/last", "0\n")
        system.run(*reconfigure, "qpsmtpd")
        assert enabled_units(system) == set()
        assert state(system)["dpkg"] == "install ok installed 2.0.0-1"


def enabled_units(system: System) -> set[str]:
    return {path.name for path in (system.root / "etc/systemd/system").glob("*.wants/qpsmtpd*")}


@pytest.mark.parametrize(
    ("script", "reason"),
    [(FULL_DISK, "No space left on device"), (READ_ONLY, "Read-only file system")],
    ids=["full", "read-only"],
)
@pytest.mark.parametrize("release", RELEASES)
def test_a_disk_that_takes_nothing(release: str, script: str, reason: str) -> None:
    """It is said, dpkg can repeat it, and no file of before is damaged."""
    with unpacked_package(release, upgrade=True) as system:
        with copy_of(system) as undisturbed:
            configure(undisturbed)
            steps = steps_of(undisturbed)
            expected = state(undisturbed)
        # The modules come first; and dpkg has then done its part with the conffiles.
        first = next(number for number, step in enumerate(steps, 1) if "py3compile" not in step)
        with pytest.raises(RuntimeError):
            configure(system, last=first)
        system.write(f"{STEPS}/last", "0\n")
        said = system.run("sh", "-ec", script)
        assert changes(expected, state(system)) == {}
    failed, half, _ = said.partition("\ninstall ok half-configured\n")
    assert half
    assert re.search(rf"^qpsmtpd: /etc/qpsmtpd/\S+: {reason}$", failed, re.MULTILINE)
    assert "Traceback" not in said
