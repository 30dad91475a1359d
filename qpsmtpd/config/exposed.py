# SPDX-License-Identifier: MIT
"""Exposed: what everybody can change of a configuration, and so of what the daemon does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from qpsmtpd.config.problems import Problem

_OTHERS_WRITE = 0o002


def exposed(
    files: Iterable[Path], directories: Iterable[Path], plugins: Iterable[Path]
) -> Iterator[Problem]:
    """A warning for each file and directory that everybody can write to.

    Whoever can write to a directory can put other files in place of those in it.
    directories: of the configuration.  plugins: directories of local plugins.
    """
    for path in dict.fromkeys((*directories, *files)):
        yield from _problem(path, "everybody can change this configuration")
    local = [file for directory in plugins for file in _python_files(directory)]
    for path in dict.fromkeys((*plugins, *local)):
        yield from _problem(path, "everybody can make the daemon run what they write here")


def _python_files(directory: Path) -> list[Path]:
    try:
        return sorted(directory.rglob("*.py"))
    except OSError:
        return []


def _problem(path: Path, text: str) -> Iterator[Problem]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # not there, or the daemon will say what is wrong
    if mode & _OTHERS_WRITE:
        yield Problem(str(path), f"{text}: chmod o-w {path}", "warning")
