# SPDX-License-Identifier: MIT
"""Scratch files, and their directory, which something that cleans up may remove while we run.

Such a cleaner (systemd-tmpfiles, tmpreaper) removes what has not been used for some days, and the
scratch directory is used only by large messages.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

log = logging.getLogger(__name__)

#: Permissions of the directory unless the file spool_perms says otherwise.
PRIVATE = 0o700


def scratch_descriptor(directory: Path, prefix: str, mode: int = PRIVATE) -> tuple[int, Path]:
    """Make a file; returns its descriptor and its path.

    A directory that is missing is made with these permissions.  Raises OSError.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=prefix, dir=directory)
    except FileNotFoundError:
        make_again(directory, mode)
        handle, name = tempfile.mkstemp(prefix=prefix, dir=directory)
    return handle, Path(name)


def make_again(directory: Path, mode: int = PRIVATE) -> None:
    """Make a directory that was there when we started.  Raises OSError."""
    # Another worker may be faster.
    with suppress(FileExistsError):
        directory.mkdir(mode=PRIVATE)
        directory.chmod(mode)  # whatever the umask is
        log.warning("the directory %s was gone: made it again", directory)


@contextmanager
def scratch_file(directory: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file with a name, for programs that must be given a path; removed afterwards."""
    handle, path = scratch_descriptor(directory, "scratch-")
    try:
        with open(handle, "w+b") as file:  # noqa: PTH123 (a descriptor)
            yield cast("BinaryIO", file), path
    finally:
        path.unlink(missing_ok=True)
