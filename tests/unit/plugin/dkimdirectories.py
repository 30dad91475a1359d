# SPDX-License-Identifier: MIT
"""Directories with DKIM keys for tests; the keys are made once."""

from __future__ import annotations

import functools
from pathlib import Path

from qpsmtpd.mailauth.dkimkey import KeyType
from qpsmtpd.mailauth.dkimprivate import make_private_key, parse_private_key


@functools.cache
def key_text(kind: KeyType = "ed25519", bits: int = 2048) -> bytes:
    """A private key."""
    return make_private_key(kind, bits)


def record_of(text: bytes) -> str:
    """The record of a private key."""
    return parse_private_key(text).record


def add_key(home: Path, name: str, text: bytes | None = None) -> Path:
    """Write a key into the directory of a domain, which only we can read."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / name
    path.write_bytes(key_text() if text is None else text)
    path.chmod(0o600)
    return path
