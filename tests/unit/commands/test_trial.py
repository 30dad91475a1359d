# SPDX-License-Identifier: MIT
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from qpsmtpd.commands import trial
from qpsmtpd.commands.main import main

Run = Callable[..., tuple[int, str, str]]

MESSAGE = b"From: <a@sender.example>\nTo: <user@example.test>\nSubject: x\n\nHello.\n"


def configure(directory: Path, *plugins: str) -> Path:
    directory.mkdir()
    (directory / "me").write_text("mx.example\n")
    (directory / "rcpthosts").write_text("example.test\n")
    (directory / "store").write_text(f"{directory}/store.sqlite\n")
    (directory / "badmailfrom").write_text("bad@sender.example\n")
    (directory / "reverse_lookup").write_text("no\n")
    (directory / "plugins").write_text("\n".join((*plugins, "rcpt_ok", "queue/discard", "")))
    return directory


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `qpsmtpd try` on a configuration of its own; the tests may be root's."""
    configure(tmp_path / "config", "badmailfrom")
    monkeypatch.setattr(trial, "_leave_root", lambda *_: None)
    (tmp_path / "m.eml").write_bytes(MESSAGE)

    def run_it(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["try", "--config", str(tmp_path / "config"), *words])
        return (status, *capsys.readouterr())

    return run_it


def test_every_step_of_a_message(run: Run, tmp_path: Path) -> None:
    status, out, _ = run(str(tmp_path / "m.eml"), "--from", "a@sender.example")
    assert status == 0
    for part in (
        *("m.eml: accepted by queue/discard", "EHLO [192.0.2.1]", "MAIL FROM:<a@sender.example>"),
        *("mail               badmailfrom", "no opinion", "RCPT TO:<user@example.test>"),
        *("queue/discard would get it, for user@example.test", "    + Received: from"),
    ):
        assert part in out
    assert "AUTH" not in out
    assert not list((tmp_path / "config").glob("*.sqlite*"))


def test_a_refusal_and_the_exit_status(run: Run, tmp_path: Path) -> None:
    status, out, _ = run(str(tmp_path / "m.eml"), "--from", "bad@sender.example", "--json")
    assert status == 4
    found = json.loads(out)
    assert (found["result"], found["decided_by"]) == ("refused", "badmailfrom")
    assert found["steps"][-1]["stage"] == "MAIL"
    assert run(str(tmp_path / "m.eml"), "--to", "x@elsewhere.example")[0] == 4


def test_many_messages(run: Run, tmp_path: Path) -> None:
    mbox = b"".join(
        b"From x\nReturn-Path: <"
        + (b"bad" if n % 3 else b"a")
        + b"@sender.example>\n"
        + MESSAGE
        + b"\n"
        for n in range(200)
    )
    (tmp_path / "mbox").write_bytes(mbox)
    status, out, _ = run(str(tmp_path / "mbox"))
    assert status == 4
    assert out.count(": refused by badmailfrom") == 133
    assert "200 messages: 67 accepted, 133 refused\n      133  refused by badmailfrom" in out
    assert run(str(tmp_path / "mbox"), "--in-order")[1] == out


def test_only_what_changes(run: Run, tmp_path: Path) -> None:
    other = configure(tmp_path / "other")
    for name, sender in (("1", "a"), ("2", "bad")):
        text = f"Return-Path: <{sender}@sender.example>\n".encode() + MESSAGE
        (tmp_path / "mails").mkdir(exist_ok=True)
        (tmp_path / "mails" / name).write_bytes(text)
    _, out, _ = run(str(tmp_path / "mails"), "--compare", str(other))
    assert f"{tmp_path}/mails/2:\n  - refused by badmailfrom" in out
    assert "+ accepted by queue/discard" in out
    assert "mails/1" not in out
    assert "1 change\n        1  refused -> accepted" in out


def test_a_log_in_and_tls(run: Run, tmp_path: Path) -> None:
    words = (str(tmp_path / "m.eml"), "--to", "x@elsewhere.example", "--user", "joe", "--json")
    status, out, _ = run(*words)
    assert status == 0
    assert run(*words, "--tls")[0] == 5
    issued = trustme.CA().issue_cert("mx.example")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    with (tmp_path / "config/plugins").open("a") as plugins:
        plugins.write(f"tls {tmp_path}/both.pem {tmp_path}/both.pem\n")
    assert run(*words, "--tls")[0] == 0
    # Nobody else can use that to log in.
    assert "password" not in out


def test_recorded_names(run: Run, tmp_path: Path) -> None:
    configuration = tmp_path / "config/plugins"
    configuration.write_text("resolvable_fromhost\n" + configuration.read_text())
    (tmp_path / "dns").write_text(
        json.dumps({"MX sender.example": {"records": [[10, "mx.sender.example"]], "exists": True}})
    )
    words = (str(tmp_path / "m.eml"), "--dns", str(tmp_path / "dns"))
    _, _, err = run(*words, "--from", "a@sender.example")
    assert "are not in" in err
    assert run(*words, "--record", "x")[0] == 1


def test_scripts(run: Run, tmp_path: Path) -> None:
    script = "# x\nS: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<bad@sender.example>\nS: 550 *\n"
    (tmp_path / "s.smtp").write_text(script)
    status, out, _ = run(str(tmp_path / "s.smtp"))
    assert (status, "s.smtp: passed" in out) == (0, True)
    (tmp_path / "s.smtp").write_text(script.replace("550", "250"))
    status, out, _ = run(str(tmp_path / "s.smtp"))
    assert (status, "got:      550" in out) == (4, True)
    assert run(str(tmp_path / "s.smtp"), str(tmp_path / "m.eml"))[0] == 1


def test_what_cannot_be_tried(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.eml").write_bytes(b"no header section")
    status, out, _ = run(str(tmp_path / "m.eml"))
    assert (status, "--to" in out) == (5, True)
    assert "No such file" in run(str(tmp_path / "missing"))[2]
    (tmp_path / "empty").mkdir()
    assert "no messages" in run(str(tmp_path / "empty"))[2]
    (tmp_path / "config/plugins").write_text("no_such_plugin\n")
    status, _, err = run(str(tmp_path / "m.eml"))
    assert (status, "no_such_plugin" in err) == (1, True)


def test_hostile_text_does_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "\x1b[31m.eml").write_bytes(MESSAGE.replace(b"Subject: x", b"X: \x1b[2J\xff"))
    _, out, _ = run(str(tmp_path / "\x1b[31m.eml"), "--helo", "\u202e\x1b.example", "--full")
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_root_runs_no_plugin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "root runs no plugins" in run(str(tmp_path / "m.eml"))[2]


def test_nobody_waits_in_a_tarpit_for_a_trial(run: Run, tmp_path: Path) -> None:
    """The greeting has two lines, which a refusal cannot follow."""
    plugins = (
        "earlytalker teaser wait 60",
        "badmailfrom reject naughty",
        "tarpit delay 60 session 600",
        "naughty",
    )
    (tmp_path / "config/plugins").write_text("\n".join((*plugins, "rcpt_ok", "queue/discard", "")))
    status, out, _ = run(str(tmp_path / "m.eml"), "--from", "bad@sender.example")
    assert "refused by naughty" in out
    assert status == 4
