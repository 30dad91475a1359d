# SPDX-License-Identifier: MIT
"""Stray files: those in the directory of the configuration that nothing reads.

A file is in use if a setting or a plugin, shipped or in the chain, has a file with its name, if it
was read (as a file that `$include` names), or if a word of a plugin line names it.  Only the first
directory is searched: the control files of qmail are qmail's.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.settings import Settings, file_of
from qpsmtpd.plugin.base import Plugin

#: Copies, what package managers leave, what is for people, and what belongs to the Debian package.
_IGNORED = (
    *(".*", "#*#", "*~", "*.bak", "*.old", "*.orig", "*.save", "*.sample", "*.example"),
    *("*.dpkg-*", "*.ucf-*", "README*", "debian-*", "debconf-*"),
)

#: How alike two names must be, from 0 to 1, for one to be a misspelling of the other.
_LIKENESS = 0.75


def stray_files(files: ConfigFiles, used: Iterable[type[Plugin[Any]]]) -> Iterator[Problem]:
    """A warning for each stray file; `used` are the plugins of the chain, which have started."""
    strays = list(_unread(files))
    if not strays:
        return
    known = {"plugins", "logging", *(file_of(field.name) for field in fields(Settings))}
    known.update(name for cls in (*used, *shipped_plugins().values()) for name in cls.files)
    # A database may be made from a file that is not read itself, and the other way round.
    known |= {f"{name}.cdb" for name in known} | {name.removesuffix(".cdb") for name in known}
    for path in strays:
        if path.name not in known:
            yield Problem(_printable(path), _text(path.name, known), "warning")


def _unread(files: ConfigFiles) -> Iterator[Path]:
    """The files that have not been read and are not named on a plugin line."""
    directory, *others = files.directories
    if not os.access(directory, os.R_OK) or (others and directory == others[-1]):
        return  # the last one is that of qmail
    theirs = {os.path.realpath(path) for path in (*files.files, *map(files.path, _words(files)))}
    for path in sorted(directory.iterdir()):
        ignored = any(fnmatch(path.name, pattern) for pattern in _IGNORED)
        if not ignored and path.is_file() and os.path.realpath(path) not in theirs:
            yield path


def _words(files: ConfigFiles) -> Iterator[str]:
    """Whatever may name a file on the lines of plugins."""
    for entry in (*files.entries("plugins"), *files.entries("logging")):
        yield from filter(None, re.split(r"[\s=,]+", entry.text))


def _text(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=_LIKENESS)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"nothing reads this file: no setting and no plugin has a file with this name{hint}"


def _printable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")
