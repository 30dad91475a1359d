# SPDX-License-Identifier: MIT
"""The program `qpsmtpd`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qpsmtpd
from qpsmtpd.commands import dialogue
from qpsmtpd.commands import main as cli
from qpsmtpd.config.runoptions import ListenAddress, RunOptions
from qpsmtpd.daemon import inetd, start
from qpsmtpd.dialogue.script import DialogueError
from qpsmtpd.errors import QpsmtpdError

GOOD = "rcpt_ok\nqueue/discard\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QPSMTPD_CONFIG", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `run` and `inetd` would have run with; each of them returns 7."""
    calls: list[Any] = []

    def run(options: RunOptions) -> int:
        calls.append(options)
        return 7

    monkeypatch.setattr(start, "run", run)
    monkeypatch.setattr(inetd, "run", run)
    return calls


def a_directory(directory: Path, **files: str) -> str:
    for name, text in files.items():
        (directory / name).write_text(text)
    return str(directory)


def test_a_command_imports_no_other() -> None:
    program = (
        "import sys; from qpsmtpd.commands.main import make_parser; make_parser(['reload']); "
        "print(sorted(name for name in sys.modules if 'commands.' in name))"
    )
    output = subprocess.check_output((sys.executable, "-c", program), text=True)
    names = ("arguments", "main", "reload")
    assert output == f"{[f'qpsmtpd.commands.{name}' for name in names]}\n"


@pytest.mark.parametrize("words", [[], ["check-confg"], ["--help"]])
def test_all_commands_are_named_when_none_is_known(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    output = "".join(capsys.readouterr())
    assert "check-config" in output or "COMMAND" in output
    assert not words or "scram-verifier" in output


# --- run, inetd -----------------------------------------------------------------------------


def test_run(ran: list[RunOptions], tmp_path: Path) -> None:
    words = f"run --config {tmp_path} --listen :25 --listen [::1]:587 --listen-tls 10.0.0.1:465"
    words += " --workers 3 --user mail --pid-file /run/x.pid --debug"
    assert cli.main(words.split()) == 7
    (options,) = ran
    assert options.config[0] == tmp_path
    assert options.listen == (
        ListenAddress("", 25),
        ListenAddress("::1", 587),
        ListenAddress("10.0.0.1", 465, tls=True),
    )
    assert (options.workers, options.user, options.debug) == (3, "mail", True)
    assert options.pid_file == Path("/run/x.pid")
    assert options.environment == dict(os.environ)
    assert (options.max_from_ip, options.max_connections, options.reverse_lookup) == (None,) * 3


def test_run_defaults(ran: list[RunOptions]) -> None:
    cli.main(["run"])
    assert ran[0].config[0] == Path("/etc/qpsmtpd")
    assert (ran[0].listen, ran[0].workers, ran[0].user, ran[0].debug) == ((), 0, None, False)


def test_directory_of_the_environment(
    ran: list[RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPSMTPD_CONFIG", "/conf")
    cli.main(["inetd"])
    cli.main(["inetd", "--config", "/mine"])
    assert [options.config[0] for options in ran] == [Path("/conf"), Path("/mine")]


def test_without_a_command_under_tcpserver(
    ran: list[RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inetd, "is_started_with_connection", lambda environment: True)
    monkeypatch.setattr(sys, "argv", ["qpsmtpd"])
    assert cli.main() == cli.main([]) == 7
    assert len(ran) == 2


@pytest.mark.parametrize(
    "words", ["", "fly", "run --listen here", "run --workers -1", "run --workers many", "run x"]
)
def test_wrong_words(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words.split())
    assert caught.value.code == 2
    assert "usage: qpsmtpd" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"qpsmtpd {qpsmtpd.__version__}\n"


def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_options: RunOptions) -> int:
        raise QpsmtpdError("port is taken")

    monkeypatch.setattr(start, "run", fail)
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().err == "qpsmtpd: error: port is taken\n"


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_options: RunOptions) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "run", interrupt)
    assert cli.main(["run"]) == 130


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qpsmtpd", "--version"], capture_output=True, check=True
    )
    assert done.stdout.startswith(b"qpsmtpd ")


def test_nobody_reads_the_output() -> None:
    """As in `qpsmtpd plugins rcpt_ok | true`: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "qpsmtpd", "plugins", "rcpt_ok"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


# --- check-config ---------------------------------------------------------------------------


def test_a_good_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    directory = a_directory(tmp_path, plugins=GOOD, spool_dir=str(tmp_path / "spool"))
    assert cli.main(["check-config", directory]) == 0
    *problems, summary = capsys.readouterr().out.splitlines()
    assert problems == [
        f"{directory}/plugins:2: warning: queue/discard: every message is accepted and thrown away"
    ]
    assert summary == f"{directory}: 0 errors, 1 warning"
    assert caplog.records == []
    assert not (tmp_path / "spool").exists()


def test_a_bad_configuration(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = a_directory(tmp_path, plugins=f"{GOOD}no_such", timeout="x", spool_dir="/no/spool")
    monkeypatch.setenv("QPSMTPD_CONFIG", directory)
    assert cli.main(["check-config"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{directory}/timeout:1: error: 'x' is not a duration")
    assert f"{directory}/plugins:3: error: no_such: there is no plugin" in out[1]
    assert out[-1] == f"{directory}: 2 errors, 0 warnings"


# --- plugins --------------------------------------------------------------------------------


def test_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--config", a_directory(tmp_path, plugins=GOOD)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LINE       PLUGIN         HOOKS",
        "plugins:1  rcpt_ok        rcpt",
        "plugins:2  queue/discard  queue",
    ]


def test_a_chain_with_a_line_that_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = a_directory(tmp_path, plugins=f"relay if_enabled rspamd\n{GOOD}")
    assert cli.main(["plugins", "--config", directory]) == 0
    *table, reason = capsys.readouterr().out.splitlines()
    assert table[1].startswith("plugins:2  rcpt_ok")
    assert reason.endswith(
        "plugins:1: relay: not used, as rspamd is not enabled on this machine (if_enabled)"
    )


def test_chain_with_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--config", a_directory(tmp_path, plugins=f"x\n{GOOD}")]) == 1
    output = capsys.readouterr()
    assert "plugins:2  rcpt_ok" in output.out
    assert "plugins:1: error: x: there is no plugin x" in output.err


@pytest.mark.parametrize("name", ["loop", "check_loop"])
def test_manual(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", name]) == 0
    assert capsys.readouterr().out.startswith("loop: ")


def test_manual_of_a_local_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '"""mine: my own."""\nfrom qpsmtpd.api import *\nclass Mine(Plugin[NoOptions]): ...\n'
    (tmp_path / "mine.py").write_text(text)
    directory = a_directory(tmp_path, plugin_dirs=str(tmp_path))
    assert cli.main(["plugins", "mine", "--config", directory]) == 0
    assert capsys.readouterr().out.startswith("mine: my own.\n")


def test_no_such_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "no_such"]) == 1
    assert "there is no plugin no_such" in capsys.readouterr().err


# --- dialogue -------------------------------------------------------------------------------


def test_dialogue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[Any] = []

    async def note(*arguments: Any) -> None:
        await asyncio.sleep(0)
        asked.append(arguments)

    monkeypatch.setattr(dialogue, "run_file", note)
    assert cli.main(["dialogue", "x.smtp"]) == 0
    assert cli.main(["dialogue", "x.smtp", "--to", "[::1]:25"]) == 0
    assert asked == [(Path("x.smtp"), "127.0.0.1", 2525), (Path("x.smtp"), "::1", 25)]
    assert capsys.readouterr().out == "x.smtp: passed\n" * 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DialogueError("x.smtp:3", "no"), "x.smtp:3: no"),
        (ConnectionRefusedError(111, "refused"), "x.smtp to 127.0.0.1:2525: refused"),
    ],
)
def test_failed_dialogue(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    text: str,
) -> None:
    async def fail(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(dialogue, "run_file", fail)
    assert cli.main(["dialogue", "x.smtp"]) == 1
    assert capsys.readouterr().err == f"qpsmtpd: error: {text}\n"
