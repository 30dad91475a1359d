# SPDX-License-Identifier: MIT
"""The Debian package, built in a Debian 12 of its own by `make deb`."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.debian_system import GUEST_CHECKOUT, System, layer_tar, unpacked

#: Build-Depends of debian/control (a test compares), and what looks at the result.
BUILD_DEPENDENCIES = (
    "debhelper",
    "dh-apparmor",
    "po-debconf",
    "pybuild-plugin-pyproject",
    "python3-aiosmtpd",
    "python3-all",
    "python3-cryptography",
    "python3-dnspython",
    "python3-hypothesis",
    "python3-jinja2",
    "python3-pytest",
    "python3-pytest-asyncio",
    "python3-pytest-timeout",
    "python3-setuptools",
)
TOOLS = {
    "bookworm": ("build-essential", *BUILD_DEPENDENCIES, "lintian"),
    "trixie": (
        *("lintian", "python3-aiosmtpd", "python3-cryptography", "python3-debian"),
        "python3-dnspython",
    ),
}
VERSION = "2.0.0-1"
NAME = f"qpsmtpd_{VERSION}_all.deb"
#: All that is built: the daemon, and its modules.
NAMES = (NAME, f"python3-qpsmtpd_{VERSION}_all.deb")

#: The second build differs in all that should not matter.
_OTHERWISE = (
    "umask 077; export TZ=Pacific/Chatham LC_ALL=C HOME=/nonexistent TMPDIR=/var/tmp "
    "PATH=/srv/pyenv:$PATH PYTHONPATH=/srv/pyenv VIRTUAL_ENV=/srv/pyenv"
)
#: A Python without Debian's modules, as of pyenv or conda.
_OTHER_PYTHON = "#!/bin/sh\necho No module named build >&2\nexit 1\n"


@dataclass(frozen=True)
class Package:
    """The packages as two builds made them, what was printed, and what they were made of.

    data, again: by the names of their files.
    sources: the Python files of the tree, which may have changed since.
    """

    data: Mapping[str, bytes]
    again: Mapping[str, bytes]
    log: str
    sources: Mapping[str, str]

    def put_into(self, system: System) -> tuple[str, ...]:
        """Copy them into a Debian system; their paths there, in the order of NAMES."""
        for name, data in self.data.items():
            (system.root / "var/tmp" / name).write_bytes(data)
        return tuple(f"/var/tmp/{name}" for name in NAMES)


@functools.cache
def built() -> Package:
    """Build the package, twice.  Raises RuntimeError with all that was printed."""
    with unpacked(layer_tar("bookworm", TOOLS["bookworm"])) as system:
        checkout = system.root / GUEST_CHECKOUT.lstrip("/")
        system.copy_checkout()
        # lintian has tests of its own here, and make must not end when it complains.
        (system.root / "usr/bin/lintian").unlink()
        log = system.run("make", "--directory", GUEST_CHECKOUT, "deb")
        first = _take(checkout)
        sources = dict(_sources(checkout))
        other = "/srv/somewhere else"
        shutil.move(checkout, system.root / other.lstrip("/"))
        for python in ("python3", "python3.11"):
            system.write(f"/srv/pyenv/{python}", _OTHER_PYTHON, 0o755)
        system.run("sh", "-c", f"{_OTHERWISE}; make --directory='{other}' deb")
        return Package(first, _take(system.root / other.lstrip("/")), log, sources)


def _sources(checkout: Path) -> Iterator[tuple[str, str]]:
    for top in ("qpsmtpd", "maintscripts"):
        for path in (checkout / top).rglob("*.py"):
            yield str(path.relative_to(checkout)), path.read_text()


def _take(checkout: Path) -> dict[str, bytes]:
    paths = sorted((checkout / "dist").glob("*.deb"))
    data = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return data
