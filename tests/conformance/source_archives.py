# SPDX-License-Identifier: MIT
"""Sources of other projects, for the tests in them; fetched when the tests run.

They have licences of their own, and are never part of ours.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.conformance.other_versions import CACHE, PIP_TIMEOUT
from tests.isolation import locked

#: A release of Debian of which the sources are there, and its archive.
DEBIAN = "trixie"
_SOURCES = (
    "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    f" http://deb.debian.org/debian {DEBIAN} main\n"
)


class SourceArchive:
    """The files of a source archive, by their path below its one directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes:
        """One file."""
        return self.files(lambda each: each == name)[name]

    def files(self, wanted: Callable[[str], bool]) -> dict[str, bytes]:
        """Files by name."""
        found = {}
        with tarfile.open(self._path) as archive:
            for member in archive:
                name = member.name.partition("/")[2]
                if member.isfile() and wanted(name):
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read()
        return found


def from_pypi(project: str, version: str) -> SourceArchive:
    """The source distribution of a project."""
    pip = ("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    what = ("--no-binary", project, f"{project}=={version}")
    archive = f"{project}-{version}.tar.gz"
    return _cached(
        f"{project}-{version}-source", archive, (sys.executable, *pip, *what, "--dest", ".")
    )


def from_debian(package: str) -> SourceArchive:
    """The original source of a Debian package.  Needs apt-get, but neither root nor its lists."""
    here = "-o Dir::Etc::SourceList=$PWD/sources.list -o Dir::State=$PWD -o Dir::Cache=$PWD"
    apt = f"apt-get -qq {here} -o Dir::Etc::SourceParts=-"
    script = f"{apt} update && {apt} source --tar-only {package}"
    return _cached(
        f"{package}-{DEBIAN}-source",
        "*.orig.tar.*",
        ("sh", "-c", script),
        {"sources.list": _SOURCES},
    )


def _cached(
    name: str, archive: str, fetch: tuple[str, ...], files: dict[str, str] | None = None
) -> SourceArchive:
    directory = CACHE / name
    CACHE.mkdir(exist_ok=True)
    with locked(CACHE / f"{name}.lock"):
        if not list(directory.glob(archive)):
            (directory / "lists/partial").mkdir(parents=True, exist_ok=True)
            for file, text in (files or {}).items():
                (directory / file).write_text(text)
            subprocess.run(fetch, check=True, timeout=PIP_TIMEOUT, cwd=directory)
    [path] = directory.glob(archive)
    return SourceArchive(path)
