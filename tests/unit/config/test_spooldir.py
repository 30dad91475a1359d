# SPDX-License-Identifier: MIT
"""The directory of scratch files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.config.spooldir import default_spool_dir, prepare_spool_dir


def test_it_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "spool"
    assert prepare_spool_dir(directory, 0o750) == []
    assert directory.stat().st_mode & 0o7777 == 0o750


def test_other_permissions_are_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (problem,) = prepare_spool_dir(tmp_path, 0o700)
    assert problem.severity == "warning"
    assert "0755, not 0700" in problem.text


def test_set_group_id_is_no_difference(tmp_path: Path) -> None:
    tmp_path.chmod(0o2700)
    assert prepare_spool_dir(tmp_path, 0o700) == []


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (problem,) = prepare_spool_dir(tmp_path / "file", 0o700)
    assert problem.severity == "error"


def test_it_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (problem,) = prepare_spool_dir(tmp_path / "file" / "spool", 0o700)
    assert problem.severity == "error"
    assert "Not a directory" in problem.text


def test_the_default_of_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = default_spool_dir()
    directory.mkdir(mode=0o700)
    assert prepare_spool_dir(directory, 0o700) == []
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    directory.rename(default_spool_dir())
    (problem,) = prepare_spool_dir(default_spool_dir(), 0o700)
    assert "somebody else" in problem.text
