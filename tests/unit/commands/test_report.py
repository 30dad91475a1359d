# SPDX-License-Identifier: MIT
import asyncio
import email
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qpsmtpd.commands.main import main
from tests.unit.commands.test_log import fill
from tests.unit.scripts import a_script

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `qpsmtpd report` on a configuration with a store of its own."""
    (tmp_path / "store").write_text(f"{tmp_path}/store.sqlite\n")
    (tmp_path / "me").write_text("mx.example\n")

    def run_it(*words: str, command: str = "report") -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([command, "--config", str(tmp_path), *words])
        return (status, *capsys.readouterr())

    return run_it


def test_it_sums_up(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, *(f"{number}@example.test" for number in range(30))))
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "qpsmtpd at mx.example" in out
    assert "\x1b" not in out
    assert "30  badrcptto" in out
    assert "(others): 20" in out
    assert "(others)" not in run("--rows", "30")[1]


def test_the_sums_are_those_of_the_log(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, *(f"{number}@example.test" for number in range(30))))
    words = ("--client", "192.0.2.0/29", "--since", "1h")
    log = run(*words, "--format", "json", command="log")[1].splitlines()
    report = json.loads(run(*words, "--format", "json")[1])
    assert sum(report["totals"].values()) == len(log) == 8


def test_as_a_page(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "<b>@example.test"))
    status, out, _ = run("--format", "html")
    assert status == 0
    assert out.startswith("<!DOCTYPE html>\n<html")
    assert "<b>" not in out


def test_the_shadow(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test"))
    status, out, _ = run("--shadow")
    assert status == 0
    assert "1 decisions, 0 accepted messages." in out


def test_when_there_is_nothing(run: Run, tmp_path: Path) -> None:
    assert "there is no store yet" in run()[2]
    asyncio.run(fill(tmp_path, "a@example.test"))
    status, _, err = run("--until", "2h", "--since", "3h")
    assert (status, err) == (1, "qpsmtpd: there are no decisions in this period\n")
    status, _, err = run("--until", "3h", "--since", "2h")
    assert (status, "before --until" in err) == (1, True)
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 1000)
    assert "does not answer" in run()[2]


# --- mail -----------------------------------------------------------------------------------------


def test_nobody_is_to_get_it(run: Run, tmp_path: Path) -> None:
    status, _, err = run("--mail")
    assert (status, "the file report_to has no address" in err) == (1, True)


def test_mail_by_a_program(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test"))
    program = a_script(tmp_path / "sendmail", f'echo "$@" >> {tmp_path}/words; cat > {tmp_path}/m')
    (tmp_path / "report_via").write_text(program + "\n")
    (tmp_path / "report_to").write_text("anna@example.test\nbert@example.test\n")
    (tmp_path / "report_from").write_text("reports@example.test\n")
    status, out, err = run("--mail")
    assert (status, err) == (0, "")
    assert out.splitlines() == ["sent to anna@example.test", "sent to bert@example.test"]
    assert (tmp_path / "words").read_text() == "-oi -f reports@example.test -t\n" * 2
    mail = email.message_from_bytes((tmp_path / "m").read_bytes())
    assert mail["To"] == "bert@example.test"
    assert mail.get_content_type() == "multipart/alternative"


def test_mail_that_is_not_taken(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test"))
    (tmp_path / "report_via").write_text(a_script(tmp_path / "sendmail", "exit 75") + "\n")
    (tmp_path / "report_to").write_text("anna@example.test\n")
    status, out, err = run("--mail")
    assert (status, out) == (1, "")
    assert "not sent to anna@example.test" in err


def test_a_host_name_that_is_no_domain(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test"))
    (tmp_path / "report_to").write_text("anna@example.test\n")
    (tmp_path / "me").write_text("mx..example\n")
    status, _, err = run("--mail")
    assert (status, "name one in the file report_from" in err) == (1, True)


def test_what_is_wrong_in_the_settings(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a@example.test"))
    (tmp_path / "report_to").write_text("nobody\n")
    status, _, err = run("--mail")
    assert (status, "check-config says which" in err) == (1, True)
