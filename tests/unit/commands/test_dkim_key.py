# SPDX-License-Identifier: MIT
"""`qpsmtpd dkim-key`: what it makes, what it prints, and what it says about records."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.commands import main as cli
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.dkimfiles import read_domain
from qpsmtpd.testing import FakeResolver, Records, dns_failure
from tests.unit.plugin.dkimdirectories import add_key, key_text, record_of

NAME = "s._domainkey.a.example"
RELOAD = "systemctl reload qpsmtpd.service"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QPSMTPD_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").write_text("dkim\nqueue/discard\n")
    return tmp_path


def make(*words: str) -> int:
    return cli.main(["dkim-key", *words])


def test_a_new_key(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make("A.example", "--selector", "S", "--bits", "1024") == 0
    [key] = read_domain(config / "dkim/a.example", lambda *_: None)
    assert (key.name, key.private.type, key.private.bits) == (NAME, "rsa", 1024)
    said = capsys.readouterr().out
    assert said.startswith(f"{config}/dkim/a.example/s.private is made (rsa, 1024 bits).\n")
    assert f"{NAME}. IN TXT (" in said
    assert f"{NAME}\nTXT\n{key.private.record}\n" in said
    assert said.endswith(f"    qpsmtpd dkim-key a.example --check\n    {RELOAD}\n")


def test_selectors_say_when_and_of_what_type(config: Path) -> None:
    assert make("a.example", "--type", "ed25519") == 0
    assert make("a.example", "--bits", "1024") == 0
    keys = read_domain(config / "dkim/a.example", lambda *_: None)
    months = [key.selector.rpartition("-")[0] for key in keys]
    assert [key.selector.rpartition("-")[2] for key in keys] == ["ed25519", "rsa"]
    assert all(len(month) == 6 and month.isdigit() for month in months)


def test_what_else_is_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config / "plugins").write_text("queue/discard\n")
    add_key(config / "dkim/a.example", "old.private")
    assert make("a.example", "--type", "ed25519") == 0
    said = capsys.readouterr().out
    assert "has no line dkim yet" in said
    assert "with old as well" in said


def test_nothing_is_overwritten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_key(config / "dkim/a.example", "private")
    (config / "dkim/a.example/selector").write_text("s")
    (config / "dkim/b.example").symlink_to("a.example")
    assert make("a.example", "--selector", "s") == 1
    assert "has a key s already: choose another --selector" in capsys.readouterr().err
    assert make("b.example") == 1
    assert "is a link to a.example: make the key for that domain" in capsys.readouterr().err
    assert len(list((config / "dkim/a.example").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["no domain"], "'no domain' is not a domain"),
        (["../a.example"], "'../a.example' is not a domain"),
        (["a.example", "--selector", "../s"], "is not a name in the DNS"),
        (["a.example", "--bits", "512"], "the minimum is 1024"),
        (["a.example", "--bits", "8192"], "not everybody checks more than 4096"),
        (["a.example", "--type", "dsa"], "invalid choice"),
        (["a.example", "--show", "--check"], "not allowed with"),
    ],
)
def test_wrong_words(
    config: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        make(*words)
    assert problem in capsys.readouterr().err
    assert not (config / "dkim").exists()


def test_records_of_keys_that_are_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_key(config / "dkim/a.example", "s.private")
    add_key(config / "dkim/a.example", "t.private", key_text("rsa"))
    assert make("a.example", "--show") == 0
    said = capsys.readouterr().out
    for text in (key_text(), key_text("rsa")):
        assert f"\n{record_of(text)}\n" in said
    assert len(list((config / "dkim/a.example").iterdir())) == 2


def test_without_keys(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--show", "--check"):
        assert make("a.example", option) == 1
        assert f"there is no key: {config}/dkim/a.example does not exist" in capsys.readouterr().err
    (config / "dkim/a.example").mkdir(parents=True)
    assert make("a.example", "--check") == 1
    assert "has no key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("records", "status", "said"),
    [
        ({("TXT", NAME): [record_of(key_text())]}, 0, "ok: the DNS has this key"),
        ({}, 1, "warning: is not in the DNS"),
        ({("TXT", NAME): dns_failure()}, 1, "notice: cannot be looked up now"),
    ],
)
def test_check(
    config: Path,
    records: Records,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_key(config / "dkim/a.example", "s.private")
    monkeypatch.setattr(Installation, "resolver", lambda _self: FakeResolver(records))
    assert make("a.example", "--check") == status
    assert capsys.readouterr().out.startswith(f"{NAME}: {said}")
