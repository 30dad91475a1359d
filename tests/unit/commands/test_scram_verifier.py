# SPDX-License-Identifier: MIT
"""`qpsmtpd scram-verifier`: its line lets the user in, and nothing shows the password."""

from __future__ import annotations

import getpass
import io

import pytest

from qpsmtpd.commands import main as cli
from qpsmtpd.logins.verifier import parse_verifier


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make(monkeypatch: pytest.MonkeyPatch, said: io.StringIO, *words: str) -> int:
    monkeypatch.setattr("sys.stdin", said)
    return cli.main(["scram-verifier", "user@example.org", *words])


def test_the_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(monkeypatch, io.StringIO("pa:ss wörd \r\nmore"), "--iterations", "4096") == 0
    said = capsys.readouterr().out
    user, _, text = said.removesuffix("\n").partition(":")
    verifier = parse_verifier(text)
    assert (user, verifier.iterations) == ("user@example.org", 4096)
    assert verifier.matches("pa:ss wörd ")
    assert "pa:ss" not in said and "wörd" not in said


def test_at_a_terminal_the_password_is_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = iter(["one", "one", "one", "two"])
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(said))
    assert make(monkeypatch, Terminal()) == 0
    assert capsys.readouterr().out.startswith("user@example.org:SCRAM-SHA-256$10000:")
    assert make(monkeypatch, Terminal()) == 1
    assert "two different passwords" in capsys.readouterr().err


@pytest.mark.parametrize("password", ["", "\n", "a\x07b\n"])
def test_what_is_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: str
) -> None:
    assert make(monkeypatch, io.StringIO(password)) == 1
    assert "nobody can have this password" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["user"],
        ["user@"],
        ["@example.org"],
        ["us:er@example.org"],
        ["user@example.org", "--iterations", "4095"],
        ["user@example.org", "--iterations", "1000001"],
    ],
)
def test_wrong_words(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["scram-verifier", *words])
