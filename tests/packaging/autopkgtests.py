# SPDX-License-Identifier: MIT
"""Debian's program autopkgtest on the built package and the tests in debian/tests.

    make autopkgtest RELEASE=bookworm TEST=smoke

It runs inside the system that it tests, with its virtualisation server "null".  A test that needs
no init system runs in a system that is not booted; those that leave the system usable share one
that is; the others have one each.  What tests depend on comes from an archive in the system, and
not from the network, so that the tests declare what they need.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.debian_system import (
    CHECKOUT,
    GUEST_CHECKOUT,
    GUEST_RESULTS,
    RELEASES,
    System,
    layer_tar,
    unpacked,
)
from tests.packaging.package import built

PASS = "PASS"
BOOT_TIMEOUT = 1500.0  # seconds for all tests that share a system; a third of it is usual
_ARCHIVE = "/srv/archive"
_USER = "tester"  # who runs tests that do not need root
_SUMMARY = f"{GUEST_RESULTS}/summary"
_LOG = f"{GUEST_RESULTS}/log"

# Packages that tests depend on, with what these depend on and is not installed yet; mail systems
# exclude each other, so each list is looked at alone.  The Perl version is for upgrade-from-perl.
_MAKE_ARCHIVE = """
mkdir -p {archive}/partial
cd {archive}
download() {{
    apt-get -qq --yes --no-install-recommends --download-only \\
        -o Dir::Cache::archives={archive} "$@"
}}
{downloads}
download install qpsmtpd
rm -rf partial lock
apt-ftparchive packages . >Packages
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:{archive} ./' >/etc/apt/sources.list
"""


@dataclass(frozen=True)
class Declared:
    """A test as debian/tests/control declares it."""

    name: str
    depends: tuple[str, ...]
    restrictions: frozenset[str]

    @property
    def group(self) -> str:
        """Which tests it shares a system with."""
        if "isolation-container" not in self.restrictions:
            return "not booted"
        return self.name if "breaks-testbed" in self.restrictions else "booted"


@dataclass(frozen=True)
class Report:
    """What one run of autopkgtest said: its line of each test, and everything else."""

    summary: dict[str, str]  # test → PASS, FAIL with a reason, SKIP with a reason
    log: str

    def failure(self, test: str) -> str | None:
        """Why this test did not pass, with its part of the log; None when it passed."""
        result = self.summary.get(test, "FAIL autopkgtest does not mention it")
        return None if result == PASS else f"{self._log_of(test)}\n{test:22} {result}"

    def _log_of(self, test: str) -> str:
        """From its preparation to its result; everything when it was not prepared."""
        marks = [found.start() for found in re.finditer(f"^.*: test {test}: ", self.log, re.M)]
        return self.log[marks[0] : self.log.find("\n", marks[-1])] if marks else self.log


def declared() -> tuple[Declared, ...]:
    """The tests of debian/tests/control, in its order."""
    text = (CHECKOUT / "debian/tests/control").read_text()
    stanzas = re.split(r"\n\s*\n", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return tuple(_declared(dict(_fields(stanza))) for stanza in stanzas if stanza.strip())


def _declared(fields: dict[str, str]) -> Declared:
    restrictions = frozenset(_words(fields.get("Restrictions", "")))
    return Declared(fields["Tests"], tuple(_words(fields["Depends"])), restrictions)


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for name, value in re.findall(r"^(\S+):((?:.*\n?)(?:[ \t]+.*\n?)*)", stanza, re.MULTILINE):
        yield name, value.strip()


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _dependencies_of_the_packages() -> list[str]:
    """Those that are written in debian/control; the build adds no more that matter."""
    binaries = (CHECKOUT / "debian/control").read_text().split("\n\n")[1:]
    lists = (_words(dict(_fields(binary))["Depends"]) for binary in binaries)
    return [word for words in lists for word in words if "$" not in word]


def _layer(release: str) -> Path:
    """A system with autopkgtest, what the package depends on, and the archive."""
    own = _dependencies_of_the_packages()
    lists = {", ".join((*own, *(set(test.depends) - {"@"}))) for test in declared()}
    downloads = "\n".join(f"download satisfy '{wanted}'" for wanted in sorted(lists))
    names = [re.split(r"[ |]", dependency)[0] for dependency in own]
    script = _MAKE_ARCHIVE.format(archive=_ARCHIVE, downloads=downloads)
    return layer_tar(release, ("autopkgtest", *names), script=script)


def run(release: str, tests: Sequence[Declared], packages: Mapping[str, bytes]) -> Report:
    """Run tests of one group.  Raises RuntimeError when the system cannot be prepared."""
    with unpacked(_layer(release)) as system:
        for name, data in packages.items():
            (system.root / "var/tmp" / name).write_bytes(data)
        # Nothing but this: tests of the package must not need the rest of the tree.
        shutil.copytree(CHECKOUT / "debian", system.root / GUEST_CHECKOUT.lstrip("/") / "debian")
        system.write(f"{GUEST_CHECKOUT}/debian/files", "")  # so it counts as built
        system.run("useradd", "--create-home", _USER)
        system.run("apt-get", "-qq", "update")
        command = _command(tests, packages)
        if tests[0].group == "not booted":
            log = _run_without_booting(system, command)
        else:
            log = system.boot(command, timeout=BOOT_TIMEOUT).log
        return Report(dict(_summary(system)), _text(system, _LOG) or log)


def _run_without_booting(system: System, command: Sequence[str]) -> str:
    (system.root / GUEST_RESULTS.lstrip("/")).mkdir(parents=True)
    system.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    return system.run("sh", "-c", '"$@" || true', "sh", *command)


def _command(tests: Sequence[Declared], packages: Iterable[str]) -> tuple[str, ...]:
    return (
        *("/usr/bin/autopkgtest", "--no-built-binaries", "--no-auto-control"),
        *(f"--test-name={test.name}" for test in tests),
        # "null" knows neither that the system is booted nor that it is thrown away afterwards.
        "--ignore-restrictions=isolation-container,breaks-testbed",
        *(f"--user={_USER}", f"--summary-file={_SUMMARY}", f"--log-file={_LOG}"),
        *("--timeout-test=200", "--timeout-install=200"),
        *(f"/var/tmp/{name}" for name in packages),
        *(GUEST_CHECKOUT, "--", "null"),
    )


def _summary(system: System) -> Iterator[tuple[str, str]]:
    for line in _text(system, _SUMMARY).splitlines():
        name, _, result = line.partition(" ")
        yield name, result.strip()


def _text(system: System, name: str) -> str:
    path = system.root / name.lstrip("/")
    return path.read_text(errors="replace") if path.exists() else ""


def groups(tests: Sequence[Declared]) -> list[tuple[Declared, ...]]:
    """The tests, with those together that share a system."""
    names = dict.fromkeys(test.group for test in tests)
    return [tuple(test for test in tests if test.group == name) for name in names]


def main() -> int:
    """Run the tests of the arguments, on the packages of the arguments; 0 when all passed."""
    arguments = _parse_arguments()
    tests = [test for test in declared() if not arguments.test or test.name in arguments.test]
    packages = {path.name: path.read_bytes() for path in arguments.package} or built().data
    passed = True
    for release in arguments.release or RELEASES:
        for group in groups(tests):
            report = run(release, group, packages)
            for test in group:
                failure = report.failure(test.name)
                print(failure or f"{release} {test.name:22} {PASS}", flush=True)
                passed = passed and failure is None
    return 0 if passed else 1


def _parse_arguments() -> argparse.Namespace:
    names = [test.name for test in declared()]
    parser = argparse.ArgumentParser(prog="make autopkgtest")
    parser.add_argument("--release", action="append", choices=RELEASES)
    parser.add_argument("--test", action="append", choices=names)
    parser.add_argument(
        "--package",
        type=Path,
        action="append",
        default=[],
        help="a built one, in place of this tree",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
