# SPDX-License-Identifier: MIT
import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.trial import mailbox
from qpsmtpd.trial.mailbox import STDIN, count_of, messages_in

MBOX = (
    b"From a@b Mon Nov 30 10:00:00 2026\nSubject: one\n\n>From here\n>>From there\nFrom me\n\n"
    b"From c@d Mon Nov 30 10:00:00 2026\nSubject: two\n\nbody\n"
)
ONE = b"Subject: one\n\nFrom here\n>From there\nFrom me\n"


def texts(path: Path) -> list[bytes]:
    return [found.message for found in messages_in(path)]


def test_an_mbox(tmp_path: Path) -> None:
    file = tmp_path / "mbox"
    file.write_bytes(MBOX)
    assert texts(file) == [ONE, b"Subject: two\n\nbody\n"]
    assert [found.name for found in messages_in(file)] == [f"{file}:1", f"{file}:2"]
    assert count_of(file) == 0


def test_compressed(tmp_path: Path) -> None:
    file = tmp_path / "mbox.gz"
    file.write_bytes(gzip.compress(MBOX))
    assert len(texts(file)) == 2
    file.write_bytes(gzip.compress(MBOX)[:-20])
    with pytest.raises(QpsmtpdError, match="end-of-stream"):
        texts(file)


def test_one_message_and_none(tmp_path: Path) -> None:
    file = tmp_path / "m.eml"
    file.write_bytes(ONE)
    assert texts(file) == [ONE]
    with pytest.raises(QpsmtpdError, match="No such file"):
        texts(tmp_path / "missing")


@pytest.mark.parametrize("name", ["-", "m.eml"])
def test_where_we_may_not_look(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root begins in his home, and goes on as the daemon's user."""

    def refuse(path: Path, *_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    for method in ("is_dir", "open"):
        monkeypatch.setattr(Path, method, refuse)
    assert not mailbox.is_directory(Path(name))
    assert count_of(Path(name)) == 0
    if Path(name) != STDIN:
        with pytest.raises(QpsmtpdError, match=r"^m\.eml: Permission denied$"):
            texts(Path(name))


def test_a_maildir_and_a_directory(tmp_path: Path) -> None:
    for name in ("cur/1", "new/2", "tmp/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(ONE)
    assert len(texts(tmp_path)) == count_of(tmp_path) == 2
    assert len(texts(tmp_path / "tmp")) == 1


def test_a_damaged_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"\x1f\x8bnonsense")
    (tmp_path / "2").write_bytes(ONE)
    one, two = messages_in(tmp_path)
    assert one.problem
    assert two.message == ONE


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MOST", 60)
    (tmp_path / "m").write_bytes(ONE * 5)
    (tmp_path / "mbox").write_bytes(MBOX + b"\n" + b"x\n" * 60)
    (one,) = messages_in(tmp_path / "m")
    assert "larger" in one.problem
    found = list(messages_in(tmp_path / "mbox"))
    assert [bool(each.problem) for each in found] == [False, True]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys,
        "stdin",
        SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(MBOX))),
    )
    assert len(texts(STDIN)) == 2
