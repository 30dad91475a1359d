# SPDX-License-Identifier: MIT
"""`qpsmtpd status` and `qpsmtpd export-metrics`: what they print, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpsmtpd.commands import daemonfigures
from qpsmtpd.commands.daemonfigures import figures_of_daemon
from qpsmtpd.commands.main import main
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.metrics import catalogue
from tests.unit.metrics.examples import Counting

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def daemon(tmp_path: Path) -> Counting:
    counting = Counting(tmp_path)
    counting.workers[0].count(catalogue.MESSAGES, "accepted", by=7)
    return counting


def figures(daemon: Counting) -> list[str]:
    return ["--figures", str(daemon.path)]


def test_a_page(daemon: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *figures(daemon)]) == 0
    assert "accepted             7.0             7" in capsys.readouterr().out


def test_json(daemon: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", *figures(daemon)]) == 0
    assert json.loads(capsys.readouterr().out)["messages"]["accepted"] == 7


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["status"], 3, "qpsmtpd: the daemon is not running"),
        (["status", "--json"], 3, "qpsmtpd: the daemon is not running"),
        (["status", "--check"], 2, "QPSMTPD CRITICAL - the daemon is not running"),
        (["export-metrics"], 1, "the daemon is not running"),
    ],
)
def test_a_daemon_that_does_not_run(
    tmp_path: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--figures", str(tmp_path / "figures")]) == status
    out, err = capsys.readouterr()
    assert said in out + err
    assert len((out + err).splitlines()) == 1


def test_figures_that_nobody_can_read(daemon: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.path.write_bytes(b"of another version")
    assert main(["status", *figures(daemon)]) == 1
    assert main(["status", "--check", *figures(daemon)]) == 3
    assert "QPSMTPD UNKNOWN - " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("thresholds", "status"),
    [
        ([], 0),
        (["--warning", "accepted=7"], 1),
        (["--warning", "accepted=7", "--critical", "accepted=8"], 2),
    ],
)
def test_check(daemon: Counting, thresholds: list[str], status: int) -> None:
    assert main(["status", "--check", *thresholds, *figures(daemon)]) == status


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--warning=mails=7", "'mails' is not one of workers_missing"),
        ("--critical=accepted=few", "'accepted=few' is not accepted=NUMBER"),
        ("--watch=soon", "'soon' is not a number of seconds"),
        ("--watch=0", "'0' is not between"),
    ],
)
def test_options_that_are_wrong(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["status", option])
    assert said in capsys.readouterr().err


def test_metrics(daemon: Counting, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-metrics", *figures(daemon)]) == 0
    assert capsys.readouterr().out.endswith("# EOF\n")
    assert main(["export-metrics", "--prometheus", *figures(daemon)]) == 0
    assert 'qpsmtpd_messages_total{outcome="accepted"} 7\n' in capsys.readouterr().out


def test_where_the_daemon_has_its_figures(tmp_path: Path) -> None:
    assert figures_of_daemon(Machine(tmp_path, {})) == Path("/run/qpsmtpd/metrics/figures")
    given = Machine(tmp_path, {"RUNTIME_DIRECTORY": "/run/mine"})
    assert figures_of_daemon(given) == Path("/run/mine/figures")
    unit = tmp_path / "etc/systemd/system/qpsmtpd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nRuntimeDirectory=mail/figures\n")
    assert figures_of_daemon(Machine(tmp_path, {})) == Path("/run/mail/figures/figures")


def test_the_unit_agrees() -> None:
    unit = (CHECKOUT / "debian" / "qpsmtpd.service").read_text()
    assert f"\nRuntimeDirectory={daemonfigures._DIRECTORY}\n" in unit


# --- again and again ------------------------------------------------------------------------


@contextmanager
def watching(daemon: Counting, output: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "qpsmtpd", "status", "--watch=0.1", *figures(daemon)],
        stdout=output,
        stdin=subprocess.DEVNULL,
        cwd=CHECKOUT,
        env={**os.environ, "TERM": "xterm"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(descriptor: int, text: bytes, seen: bytes = b"") -> bytes:
    while text not in seen:
        seen += os.read(descriptor, 65536)
    return seen


def test_a_terminal_is_left_as_it_was(daemon: Counting) -> None:
    ours, theirs = pty.openpty()
    with watching(daemon, theirs) as process:
        seen = read_until(ours, b"accepted")
        assert seen.startswith(b"\033[?1049h\033[?25l")
        read_until(ours, b"\033[H", seen.rpartition(b"\033[J")[2])
        process.send_signal(signal.SIGINT)
        ending = threading.Thread(target=process.wait)
        ending.start()
        seen = read_until(ours, b"\033[?25h\033[?1049l")
        ending.join()
        assert process.returncode == 0
        assert b"Traceback" not in seen
    os.close(ours)
    os.close(theirs)


def test_a_pipe_gets_plain_text(daemon: Counting) -> None:
    with watching(daemon, subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = read_until(process.stdout.fileno(), b"event loops were late")
        read_until(process.stdout.fileno(), b"qpsmtpd 2", seen[10:].partition(b"loops")[2])
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait() == 0
        assert b"\033" not in seen
        process.stdout.close()
