# SPDX-License-Identifier: MIT
"""Units of systemd: whether this machine starts a service when it boots.

That says better than a socket or a process whether a scanner is meant to be there: a service that
has died, or that is being upgraded, is still enabled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

#: Where links to units are, in order of precedence (systemd.unit(5)).
DIRECTORIES = tuple(
    map(
        Path,
        (
            "/etc/systemd/system",
            "/run/systemd/system",
            "/usr/local/lib/systemd/system",
            "/usr/lib/systemd/system",
        ),
    )
)

#: What a name stands for that does not say which kind of unit it means.
_KINDS = (".service", ".socket")


def starts_at_boot(unit: str, directories: Sequence[Path] | None = None) -> bool:
    """Whether a unit is enabled: some other unit wants or requires it, and it is not masked.

    unit: its name; without a kind, a service or a socket.  directories: in place of DIRECTORIES.
    """
    where = DIRECTORIES if directories is None else directories
    names = [unit] if unit.endswith(_KINDS) else [unit + kind for kind in _KINDS]
    return any(_is_wanted(name, where) and not _is_masked(name, where) for name in names)


def _is_wanted(name: str, directories: Sequence[Path]) -> bool:
    """Whether there is a link that leads to the unit; that of a removed package leads nowhere."""
    return any(
        link.exists()
        for directory in directories
        for kind in ("wants", "requires")
        for link in directory.glob(f"*.{kind}/{name}")
    )


def _is_masked(name: str, directories: Sequence[Path]) -> bool:
    links = (directory / name for directory in directories)
    return any(link.is_symlink() and link.readlink() == Path(os.devnull) for link in links)
