# SPDX-License-Identifier: MIT
"""Outlets write, open again, never wait and never raise."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from qpsmtpd.logs import outlets
from qpsmtpd.logs.outlets import DatagramOutlet, FileOutlet, PipeOutlet


def test_file_is_appended_to_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    file = FileOutlet(str(path))
    file.write(b"one\n")
    path.rename(tmp_path / "log.1")
    file.write(b"two\n")
    file.close()
    file.write(b"three\n")
    file.close()
    assert (tmp_path / "log.1").read_text() == "old\none\ntwo\n"
    assert path.read_text() == "three\n"


async def test_pieces_of_one_turn_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(FileOutlet, "_write", lambda _self, data: written.append(data))
    log = FileOutlet(str(tmp_path / "log"))
    log.write_soon(b"1\n")
    log.write_soon(b"2\n")
    assert written == []
    await asyncio.sleep(0)
    log.write_soon(b"3\n")
    log.write(b"4\n")
    log.write_soon(b"5\n")
    log.close()
    await asyncio.sleep(0)
    assert written == [b"1\n2\n", b"3\n4\n", b"5\n"]


def test_without_an_event_loop_nothing_waits(tmp_path: Path) -> None:
    """Neither a piece, nor what a loop that is gone has left."""
    log = FileOutlet(str(tmp_path / "log"))

    loop = asyncio.new_event_loop()
    loop.call_soon(log.write_soon, b"1\n")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    log.write_soon(b"2\n")
    assert (tmp_path / "log").read_bytes() == b"1\n2\n"
    log.close()


async def test_all_pieces_that_are_lost_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = FileOutlet(str(tmp_path))
    for _ in range(3):
        log.write_soon(b"x\n")
    await asyncio.sleep(0)
    assert "lines_lost=3" in capsys.readouterr().err


def test_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = FileOutlet(str(path))
    file.write(b"one\n")
    file.close()
    assert path.stat().st_mode & 0o007 == 0


def test_trouble_is_told_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("qpsmtpd.logs.outlets.time.monotonic", lambda: now)
    file = FileOutlet(str(tmp_path / "missing" / "log"))
    for _ in range(3):
        file.write(b"lost\n")
    assert capsys.readouterr().err.count("No such file") == 1
    now += outlets.REPORT_EVERY
    file.write(b"lost\n")
    assert capsys.readouterr().err.endswith("lines_lost=3\n")


def test_fifo_without_reader_does_not_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    FileOutlet(str(tmp_path / "fifo")).write(b"lost\n")
    assert "cannot log" in capsys.readouterr().err


def test_full_disk_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    file = FileOutlet("/dev/full")
    file.write(b"lost\n")
    file.close()
    assert "No space left" in capsys.readouterr().err


def test_command_gets_the_lines(tmp_path: Path) -> None:
    pipe = PipeOutlet(f"tee '{tmp_path}/a b'")
    pipe.write(b"one\n")
    pipe.write(b"x" * 10_000)
    pipe.close()
    pipe.wait()
    text = (tmp_path / "a b").read_bytes()
    assert text.startswith(b"one\nxxx")
    assert len(text) == 4 + 4096
    assert not pipe.running


def test_command_has_no_environment_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\ncat > /dev/null\n")
    script.chmod(0o755)
    pipe = PipeOutlet(str(script))
    pipe.write(b"one\n")
    pipe.close()
    pipe.wait()
    assert "SECRET" not in (tmp_path / "env").read_text()


def test_command_that_does_not_read_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = PipeOutlet("sleep 60")
    for _ in range(100):
        pipe.write(b"x" * 4000)
    assert "cannot log" in capsys.readouterr().err
    pipe.close()
    pipe._ending[0].kill()
    pipe.wait()


def test_stubborn_command_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "END_AFTER", 0.01)
    pipe = PipeOutlet("sleep 60")
    pipe.write(b"one\n")
    pipe.close()
    pipe.wait()
    assert not pipe.running


def test_command_that_ends_is_started_again_but_not_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("qpsmtpd.logs.outlets.time.monotonic", lambda: now)
    pipe = PipeOutlet("sh -c 'read line'")
    pipe.write(b"one\n")
    process = pipe._process
    assert process is not None
    process.wait()
    pipe.write(b"two\n")
    assert "Broken pipe" in capsys.readouterr().err
    pipe.write(b"three\n")
    assert pipe.lost == 1
    now += outlets.RESTART_AFTER
    pipe.write(b"four\n")
    assert [pipe.running] == [True]
    pipe.close()
    pipe.wait()


def test_missing_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    PipeOutlet("/nonexistent/logger").write(b"lost\n")
    assert "No such file" in capsys.readouterr().err


def test_datagrams_reach_whoever_listens_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "socket"
    sender = DatagramOutlet(path)
    sender.write(b"lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        sender.write(b"one")
        sender.write(b"x" * 100_000)
        assert receiver.recv(100) == b"one"
        assert len(receiver.recv(200_000)) == outlets.DATAGRAM_LIMIT
    sender.close()
    assert "No such file" in capsys.readouterr().err


def test_receiver_that_does_not_read_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        sender = DatagramOutlet(tmp_path / "socket")
        for _ in range(5000):
            sender.write(b"x" * 1000)
        sender.close()
    assert "Resource temporarily unavailable" in capsys.readouterr().err
