# SPDX-License-Identifier: MIT
"""New DKIM keys: who can read them, that nothing is overwritten, and their records."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mailauth.dkimprivate import parse_private_key
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.plugin.dkimnewkey import make_key_file, zone_record
from tests.unit.plugin.dkimdirectories import key_text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_of_our_own(tmp_path: Path) -> None:
    path = make_key_file(tmp_path / "dkim/a.example", "s", "rsa", 1024, None)
    assert path == tmp_path / "dkim/a.example/s.private"
    assert parse_private_key(path.read_bytes()).bits == 1024
    assert [mode(each) for each in (path, path.parent, path.parents[1])] == [0o600, 0o700, 0o700]
    assert list(path.parent.iterdir()) == [path]


def test_a_key_for_a_group(tmp_path: Path) -> None:
    """Whatever the umask of the administrator is."""
    old = os.umask(0o077)
    try:
        path = make_key_file(tmp_path / "dkim/a.example", "s", "ed25519", 0, os.getgid())
    finally:
        os.umask(old)
    assert parse_private_key(path.read_bytes()).type == "ed25519"
    assert [mode(each) for each in (path, path.parent, path.parents[1])] == [0o640, 0o750, 0o750]
    assert path.stat().st_gid == os.getgid()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    home = tmp_path / "a.example"
    path = make_key_file(home, "s", "ed25519", 0, None)
    home.chmod(0o701)
    text = path.read_bytes()
    with pytest.raises(QpsmtpdError, match=r"s\.private exists already: choose another --selector"):
        make_key_file(home, "s", "ed25519", 0, os.getgid())
    assert path.read_bytes() == text
    assert list(home.iterdir()) == [path]
    assert mode(home) == 0o701


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(QpsmtpdError, match="none/dkim: No such file or directory"):
        make_key_file(tmp_path / "none/dkim/a.example", "s", "ed25519", 0, None)
    (tmp_path / "dkim").mkdir()
    (tmp_path / "dkim/a.example").write_text("")
    with pytest.raises(QpsmtpdError, match=r"dkim/a\.example: File exists"):
        make_key_file(tmp_path / "dkim/a.example", "s", "ed25519", 0, None)


def test_a_record_in_a_zone_file() -> None:
    key = SigningKey("s", "a.example", parse_private_key(key_text("rsa")))
    first, *strings = zone_record(key).split("\n")
    assert first == "s._domainkey.a.example. IN TXT ("
    parts = re.findall(r'^    "([^"]*)"', "\n".join(strings), re.M)
    assert [len(part) for part in parts[:-1]] == [255]
    assert len(strings) == len(parts) == 2
    assert "".join(parts) == key.private.record
    assert strings[-1].endswith('" )')
