# SPDX-License-Identifier: MIT
"""Makes DKIM keys in the directory of the configuration, and texts of their DNS records."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mailauth.dkimkey import KeyType
from qpsmtpd.mailauth.dkimprivate import make_private_key
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.plugin.dkimfiles import SUFFIX

#: Octets of one string of a TXT record (RFC 1035 section 3.3.14).
_STRING = 255

_SHARED, _SHARED_DIRECTORY = 0o640, 0o750
_PRIVATE, _PRIVATE_DIRECTORY = 0o600, 0o700


def make_key_file(home: Path, selector: str, kind: KeyType, bits: int, group: int | None) -> Path:
    """Make a key in the directory of a domain, which is made as well if it does not exist.

    group: the id of the group that may read the key; None if only its owner may.
    Raises QpsmtpdError, also if there is such a key: nothing is ever overwritten.
    """
    path = home / f"{selector}{SUFFIX}"
    text = make_private_key(kind, bits)
    try:
        for directory in (home.parent, home):
            _make_directory(directory, group)
        _write(path, text, group)
    except OSError as error:
        raise QpsmtpdError(f"{error.filename or path}: {error.strerror}") from error
    return path


def _make_directory(directory: Path, group: int | None) -> None:
    if directory.is_dir():
        return
    directory.mkdir(mode=_PRIVATE_DIRECTORY)
    if group is not None:
        os.chown(directory, -1, group)
        directory.chmod(_SHARED_DIRECTORY)


def _write(path: Path, text: bytes, group: int | None) -> None:
    """Write a file that appears as a whole, or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(text)
            if group is not None:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, _PRIVATE if group is None else _SHARED)
            file.flush()
            os.fsync(descriptor)
        os.link(name, path)
    except FileExistsError:
        raise QpsmtpdError(f"{path} exists already: choose another --selector") from None
    finally:
        Path(name).unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def zone_record(key: SigningKey) -> str:
    """The record of a key as a zone file has it (RFC 1035 section 5.1)."""
    text = key.private.record
    strings = [text[start : start + _STRING] for start in range(0, len(text), _STRING)]
    lines = "\n".join(f'    "{string}"' for string in strings)
    return f"{key.name}. IN TXT (\n{lines} )"
