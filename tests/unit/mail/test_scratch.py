# SPDX-License-Identifier: MIT
"""Scratch files, and their directory when somebody has removed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.mail.scratch import make_again, scratch_descriptor, scratch_file


def test_scratch_file_has_a_name_for_a_while(tmp_path: Path) -> None:
    with scratch_file(tmp_path) as (file, path):
        file.write(b"text")
        file.flush()
        assert path.read_bytes() == b"text"
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o077 == 0
    assert file.closed
    assert list(tmp_path.iterdir()) == []


def test_scratch_file_goes_after_a_fault_and_may_be_gone_before(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_file(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with scratch_file(tmp_path) as (_, path):
        path.unlink()


def test_a_directory_that_was_removed_is_made_again_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spool"
    for _ in range(2):
        with scratch_file(directory) as (_, path):
            assert path.parent == directory
    assert directory.stat().st_mode & 0o777 == 0o700
    assert caplog.messages == [f"the directory {directory} was gone: made it again"]


def test_another_worker_may_have_made_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_again(tmp_path)
    assert caplog.messages == []


def test_what_stands_in_its_place_stays(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(NotADirectoryError):
        scratch_descriptor(tmp_path / "spool", "x")
    assert (tmp_path / "spool").read_text() == "a file"
