# SPDX-License-Identifier: MIT
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qpsmtpd.commands.main import main
from qpsmtpd.decisions.keeper import Keeper, Limits
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.mail.account import of_refusal
from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import a_session

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `qpsmtpd log` on a configuration with a store of its own."""
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    (tmp_path / "me").write_text("mx.example\n")

    def run_it(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["log", "--config", str(tmp_path), *words])
        return (status, *capsys.readouterr())

    return run_it


async def fill(directory: Path, *recipients: str) -> None:
    """Refuse these recipients."""
    store = shared_store(parse_location(f"{directory}/store.sqlite"), 10)
    keeper = Keeper(store, Clock(), Limits(1, 1 << 20), Privacy())
    for number, recipient in enumerate(recipients):
        session = a_session(f"192.0.2.{number % 250}", helo="\x1b[31mclient")
        keeper.keep(of_refusal(session, "rcpt", "badrcptto", 550, "550 5.1.1 no", recipient))
    await keeper.close()
    await store.close()


def test_it_shows_what_became_of_mail(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test", "b@example.test"))
    before = (tmp_path / "store.sqlite").stat().st_mtime_ns
    status, out, err = run()
    assert (status, err) == (0, "")
    assert [line.count("rcpt=") for line in out.splitlines()] == [1, 1]
    assert "\x1b" not in out
    assert (tmp_path / "store.sqlite").stat().st_mtime_ns == before


def test_it_selects(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, *(f"{number}@example.test" for number in range(120))))
    assert run("--address", "7@example.test")[1].count("\n") == 1
    assert run("--client", "192.0.2.0/30", "--outcome", "refused")[1].count("\n") == 4
    assert run()[1].count("\n") == 50
    assert run("-n", "3")[1].splitlines()[-1].count("119@example.test") == 1
    assert run("--since", "1h")[1].count("\n") == 120
    assert run("--since", "1h", "--until", "30m")[0] == 1
    assert run("--since", "yesterday")[1].count("\n") == 120
    assert run("--since", "yesterday", "--until", "today")[0] == 1


def test_it_exports_all(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, *(f"{number}@example.test" for number in range(120))))
    objects = [json.loads(line) for line in run("--format", "json")[1].splitlines()]
    assert [each["about"] for each in objects] == [f"{n}@example.test" for n in range(120)]
    assert run("--format", "csv")[1].count("\n") == 121
    assert run("--format", "sql")[1].count("INSERT INTO") == 120


def test_when_nothing_is_there(run: Run, tmp_path: Path) -> None:
    status, out, err = run()
    assert (status, out) == (1, "")
    assert "there is no store yet" in err
    asyncio.run(fill(tmp_path))
    (tmp_path / "store.sqlite").touch()
    status, _, err = run()
    assert (status, "does not answer" in err) == (1, True)
    (tmp_path / "store.sqlite").unlink()
    asyncio.run(fill(tmp_path, "a@example.test"))
    assert "nothing found" in run("--plugin", "uribl")[2]
    (tmp_path / "decisions_days").write_text("0\n")
    assert "decisions_days is 0" in run("--plugin", "uribl")[2]


def test_a_damaged_file_stays_where_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 1000)
    assert "does not answer" in run()[2]
    assert {path.name for path in tmp_path.iterdir()} == {"store", "me", "store.sqlite"}


@pytest.mark.parametrize("when", ["tomorrow", "12", "d", "99999999999d", "2026-13-01"])
def test_a_time_that_is_none(run: Run, when: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--since", when)
    assert "is neither a date" in capsys.readouterr().err


def test_a_terminal_without_utf8(tmp_path: Path) -> None:
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    asyncio.run(fill(tmp_path, "ü@example.test"))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    words = [sys.executable, "-m", "qpsmtpd", "log", "--config", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert "rcpt=\\xfc@example.test" in done.stdout
