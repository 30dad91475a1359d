# SPDX-License-Identifier: MIT
"""spamassassin: what becomes of a message, and of its fields, whatever spamd says or does."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpsmtpd.api import SPAM_RESULTS, ConfigError, Decision, SpamResult, Transaction, Verdict
from qpsmtpd.plugins.spamassassin import TEXT, Spamassassin
from qpsmtpd.scanners import options
from qpsmtpd.testing import (
    FakeSystem,
    a_plugin,
    a_session,
    a_transaction,
    findings_of,
)
from tests.unit.scanners.fake import (
    NONSENSE,
    SILENT,
    Answer,
    FakeScanner,
    fake_scanner,
    with_content_length,
)
from tests.unit.scanners.test_spamd import HAM, SPAM, answering

GOOD = answering(HAM)
BAD = answering(SPAM, "True ; 12.0 / 5.0")
MESSAGE = "From: a@b.example\nSubject: test\n\nHello.\n"
ONE = ("user@example.test",)


async def run(
    answer: Answer,
    line: str = "",
    *,
    message: str = MESSAGE,
    recipients: Sequence[str] = ONE,
    relay_client: bool = False,
    mode: str = "enforce",
) -> tuple[Verdict | None, Transaction, FakeScanner]:
    """What a message leads to if spamd answers so."""
    session = a_session(ehlo="client.example", relay_client=relay_client)
    tx = a_transaction("a@b.example", *recipients, message=message, session=session)
    async with fake_scanner(with_content_length, answer) as scanner:
        plugin = await a_plugin(Spamassassin, f"spamd_socket {scanner.place} {line}")
        plugin.mode = mode  # type: ignore[assignment]
        await plugin.start()
        verdict = await plugin.hook_data_post(tx)
    return verdict, tx, scanner


def headers(tx: Transaction) -> dict[str, str]:
    assert tx.message is not None
    tx.put_fields_on_top()
    return {field.name: field.value for field in tx.message.headers.fields()}


async def test_a_good_message() -> None:
    verdict, tx, scanner = await run(GOOD, "reject 5")
    assert verdict is None
    assert list(headers(tx)) == [
        "X-Spam-Checker-Version",
        "X-Spam-Level",
        "X-Spam-Status",
        "From",
        "Subject",
    ]
    assert tx.notes[SPAM_RESULTS] == (
        SpamResult(
            "spamassassin",
            is_spam=False,
            score=0.0,
            required=5.0,
            tests=("MSGID_SHORT", "NO_RECEIVED", "NO_RELAYS"),
            autolearn="unavailable",
        ),
    )
    assert tx.session.karma == 0
    [request] = scanner.requests
    assert request.startswith(b"HEADERS SPAMC/1.5\r\n")
    assert f"User: {getpass.getuser()}\r\n".encode() in request
    assert b"\r\n\r\nX-Envelope-From: <a@b.example>\r\nFrom:" in request


@pytest.mark.parametrize(
    ("line", "decision"),
    [
        ("", None),
        ("reject 0", None),
        ("reject 12.1", None),
        ("reject 12", Decision.DENY),
        ("reject_threshold 10", Decision.DENY),
        ("reject userprefs", Decision.DENY),
        ("reject 10 reject_type temp", Decision.DEFER),
        ("reject 10 reject_type disconnect", Decision.DENY),
    ],
)
async def test_spam(line: str, decision: Decision | None) -> None:
    verdict, tx, _ = await run(BAD, line)
    assert (verdict and verdict.decision) == decision
    if verdict is not None:
        assert (verdict.text, verdict.status[1:]) == (TEXT, ".7.1")
        assert verdict.disconnect == ("disconnect" in line)
        assert "score=12" in verdict.reason
    assert headers(tx)["X-Spam-Flag"] == "YES"
    assert tx.session.karma == -1


@pytest.mark.parametrize(("learned", "karma"), [(b"ham", 1), (b"spam", -1), (b"no", 0), (b"x", 0)])
async def test_karma_for_what_is_learned(learned: bytes, karma: int) -> None:
    _, tx, _ = await run(answering(HAM.replace(b"unavailable", learned)))
    assert tx.session.karma == karma


# --- failures ---


@pytest.mark.parametrize("on_error", ["defer", "pass"])
@pytest.mark.parametrize("answer", NONSENSE)
async def test_nonsense_is_no_verdict(
    answer: Answer, on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qpsmtpd")
    timeout = 0.1 if answer == SILENT else 60
    line = f"reject 0.1 on_error {on_error} timeout {timeout}"
    verdict, tx, _ = await run(answer, line)
    if on_error == "pass":
        assert verdict is None
        assert "passed unscanned" in caplog.text
    else:
        assert verdict is not None
        assert (verdict.decision, verdict.code) == (Decision.DEFER, 451)
        assert (verdict.status, verdict.text) == ("4.3.0", options.TEXT)
        assert "not scanned" in verdict.reason
    assert SPAM_RESULTS not in tx.notes
    assert tx.session.karma == 0


async def test_nobody_listens(nowhere: str) -> None:
    plugin = await a_plugin(Spamassassin, f"reject 1 spamd_socket={nowhere}")
    for _ in range(3):
        verdict = await plugin.hook_data_post(a_transaction(message=MESSAGE))
        assert verdict is not None
        assert verdict.decision is Decision.DEFER


async def test_several_hosts_and_a_socket(tmp_path: Path, nowhere: str) -> None:
    path = tmp_path / "s"
    async with fake_scanner(with_content_length, BAD, path=path):
        line = f"reject 1 spamd_socket {nowhere},{path}"
        plugin = await a_plugin(Spamassassin, line)
        for _ in range(3):
            verdict = await plugin.hook_data_post(a_transaction(message=MESSAGE))
            assert verdict is not None
            assert verdict.decision is Decision.DENY


# --- who and what is checked ---


async def test_exempt_clients_are_not_checked() -> None:
    verdict, _, scanner = await run(BAD, "reject 1 relayclient skip", relay_client=True)
    assert verdict is None
    assert scanner.requests == []


async def test_a_message_that_is_too_large() -> None:
    verdict, tx, scanner = await run(
        BAD, "reject 1 size_limit 100", message=f"X-Spam-Flag: NO\n{MESSAGE}{'x' * 100}\n"
    )
    assert verdict is None
    assert scanner.requests == []
    # Nobody is to take it for our opinion all the same.
    assert "X-Old-Spam-Flag" in headers(tx)


async def test_a_message_in_a_file_is_streamed() -> None:
    body = "x" * 70 + "\n"
    verdict, _, scanner = await run(
        BAD, "reject 1 size_limit 10M", message=MESSAGE + body * 100_000
    )
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert scanner.requests[0].count(b"x" * 70) == 100_000


@pytest.mark.parametrize(
    ("line", "recipients", "user"),
    [
        ("", ONE, getpass.getuser()),
        ("spamd_user nobody", ONE, "nobody"),
        ("spamd_user vpopmail", ONE, "user@example.test"),
        ("spamd_user vpopmail", ("a@example.test", "b@example.test"), "vpopmail"),
    ],
)
async def test_users(line: str, recipients: Sequence[str], user: str) -> None:
    _, tx, scanner = await run(GOOD, line, recipients=recipients)
    assert f"\r\nUser: {user}\r\n".encode() in scanner.requests[0]
    several = headers(tx).get("X-Spam-User")
    assert several == (f"{user}, 2 recipients" if len(recipients) > 1 else None)


# --- fields ---


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"X-Old-Spam-Flag": "NO", "X-Old-Spam-Level": "**"}),
        ("leave_old_headers drop", {}),
        ("leave_old_headers keep", {"X-Spam-Flag": "NO", "x-spam-level": "**"}),
        ("headers none", {"X-Spam-Flag": "NO", "x-spam-level": "**"}),
    ],
)
async def test_old_fields(line: str, expected: dict[str, str]) -> None:
    message = f"X-Spam-Flag: NO\nx-spam-level: **\n{MESSAGE}"
    _, tx, scanner = await run(GOOD, line, message=message)
    found = headers(tx)
    old = {name.lower(): value for name, value in found.items() if value in ("NO", "**")}
    assert old == {name.lower(): value for name, value in expected.items()}
    assert ("X-Spam-Status" in found) == ("none" not in line)
    assert SPAM_RESULTS in tx.notes
    assert len(scanner.requests) == 1


async def test_reports_are_left_out_and_nothing_is_injected() -> None:
    section = b"X-Spam-Report: long\r\nX-Spam-Foo: a\rBcc: b\r\n c\r\nX-Spam-Prev-Subject: d\r\n"
    _, tx, _ = await run(answering(section))
    assert list(headers(tx).items())[:2] == [("X-Spam-Foo", "a"), ("From", "a@b.example")]


@pytest.mark.parametrize(
    ("line", "spam", "subject"),
    [
        ("", "True ; 6.0 / 5.0", "test"),
        ("munge_subject_threshold 5", "True ; 6.0 / 5.0", "*** SPAM *** test"),
        ("munge_subject_threshold 5 subject_prefix SPAM:", "True ; 6.0 / 5.0", "SPAM: test"),
        ("munge_subject_threshold 5", "True ; 3.0 / 2.0", "test"),
        ("munge_subject_threshold 5", "False ; 6.0 / 8.0", "test"),
        ("munge_subject_threshold 6", "True ; 6.0 / 5.0", "test"),
    ],
)
async def test_subjects(line: str, spam: str, subject: str) -> None:
    _, tx, _ = await run(answering(SPAM, spam), line)
    assert headers(tx)["Subject"] == subject


async def test_a_message_without_a_subject() -> None:
    _, tx, _ = await run(BAD, "munge_subject_threshold 5", message="From: a\n\nx\n")
    assert headers(tx)["Subject"] == "*** SPAM ***"


async def test_shadow_changes_nothing() -> None:
    message = f"X-Spam-Flag: NO\n{MESSAGE}"
    line = "munge_subject_threshold 5 reject 5"
    verdict, tx, _ = await run(BAD, line, message=message, mode="shadow")
    assert verdict is not None
    assert list(headers(tx)) == ["X-Spam-Flag", "From", "Subject"]
    assert headers(tx)["Subject"] == "test"
    assert tx.notes[SPAM_RESULTS][0].score == 12.0


async def test_two_of_them_do_not_rename_each_others_fields() -> None:
    tx = a_transaction(message=MESSAGE)
    async with fake_scanner(with_content_length, GOOD) as scanner:
        for name in ("spamassassin", "spamassassin:1"):
            line = f"spamd_socket {scanner.place}"
            await (await a_plugin(Spamassassin, line, name=name)).hook_data_post(tx)
    assert tx.message is not None
    tx.put_fields_on_top()
    assert tx.message.headers.count("X-Spam-Status") == 2
    assert [result.plugin for result in tx.notes[SPAM_RESULTS]] == [
        "spamassassin",
        "spamassassin:1",
    ]


# --- options and doctor ---


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("reject much", "'much' is not a score"),
        ("reject -1", "'-1' is not a score"),
        ("reject nan", "'nan' is not a score"),
        ("spamd_socket a:b", "HOST:PORT"),
        ("leave_old_headers burn", "rename, drop, keep"),
        ("timeout 0", "too small"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(Spamassassin, line)


async def test_doctor(tmp_path: Path, nowhere: str) -> None:
    system = FakeSystem(tmp_path)
    async with fake_scanner(lambda _request: True, b"SPAMD/1.5 0 PONG\r\n") as scanner:
        plugin = await a_plugin(Spamassassin, f"spamd_socket {scanner.place},{nowhere}")
        good, bad = await findings_of(plugin, system)
    assert (good.severity.name, good.subject) == ("OK", f"spamassassin {scanner.place}")
    assert (bad.severity.name, bad.text) == ("ERROR", "cannot connect: Connection refused")
    assert "deferred" in bad.advice
    assert bad.commands == ("systemctl enable --now spamd.service",)
