# SPDX-License-Identifier: MIT
"""rspamd: what becomes of a message for each action, and whatever rspamd says or does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import SPAM_RESULTS, ConfigError, Decision, Session, Transaction, Verdict
from qpsmtpd.plugins.rspamd import TEXT_LATER, TEXT_REJECT, Rspamd
from qpsmtpd.testing import (
    FakeClock,
    FakeStore,
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
from tests.unit.scanners.test_rspamd import ANSWER

MESSAGE = "X-Spam: No\nFrom: a@b.example\nTo: c@d.example\nSubject: test\n\nHello.\n"
ME = "user@example.test"


def answering(**changes: Any) -> bytes:
    content = json.dumps({**ANSWER, **changes}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


async def run(
    answer: Answer,
    line: str = "",
    *,
    session: Session | None = None,
    message: str = MESSAGE,
    mode: str = "enforce",
    **lent: Any,
) -> tuple[Verdict | None, Transaction, FakeScanner]:
    """What a message leads to if rspamd answers so."""
    tx = a_transaction("a@b.example", ME, message=message, session=session)
    async with fake_scanner(with_content_length, answer) as scanner:
        plugin = await a_plugin(Rspamd, f"{scanner.place} {line}", **lent)
        plugin.mode = mode  # type: ignore[assignment]
        await plugin.start()
        verdict = await plugin.hook_data_post(tx)
    return verdict, tx, scanner


def fields(tx: Transaction) -> list[tuple[str, str]]:
    assert tx.message is not None
    tx.put_fields_on_top()
    return [(field.name, field.value) for field in tx.message.headers.fields()]


@pytest.mark.parametrize(
    ("action", "line", "code", "marked"),
    [
        ("no action", "", None, False),
        ("greylist", "", None, False),
        ("add header", "", None, True),
        ("rewrite subject", "", None, True),
        ("quarantine", "", None, True),
        ("soft reject", "", 4, False),
        ("soft reject", "reject_type perm", 4, False),
        ("soft reject", "reject 0", None, False),
        ("reject", "", 5, True),
        ("REJECT", "", 5, True),
        ("discard", "", 5, True),
        ("reject", "reject_type temp", 4, True),
        ("reject", "reject 0", None, True),
        ("reject", "reject naughty", None, True),
        ("invented", "", None, False),
    ],
)
async def test_actions(action: str, line: str, code: int | None, marked: bool) -> None:
    verdict, tx, _ = await run(answering(action=action), line)
    if code is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert verdict.decision is (Decision.DENY if code == 5 else Decision.DEFER)
        assert verdict.status == f"{code}.7.1"
        assert verdict.text == (TEXT_LATER if "soft" in action else TEXT_REJECT)
    assert (("X-Spam", "Yes") in fields(tx)) == marked
    assert ("X-Old-Spam", "No") in fields(tx)
    [result] = tx.notes[SPAM_RESULTS]
    assert (result.action, result.score, result.is_spam) == (action.lower(), 6.2, marked)
    assert tx.session.karma == -marked
    assert bool(tx.session.deferred_rejects) == ("naughty" in line)


async def test_what_it_is_told() -> None:
    line = 'settings_id out settings {"groups_disabled":["rbl"]}'
    _, _, scanner = await run(answering(), line)
    head, _, message = scanner.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /checkv2 HTTP/1.1"
    assert {
        "IP: 192.0.2.1",
        "Helo: client.example",
        "From: <a@b.example>",
        f"Rcpt: {ME}",
        "Settings-ID: out",
        'Settings: {"groups_disabled":["rbl"]}',
        "MTA-Name: mx.example",
    } <= set(lines)
    assert b"X-Old-Spam: No\r\nFrom:" in message


async def test_a_password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    (tmp_path / "pw").chmod(0o600)
    _, _, scanner = await run(answering(), "password_file pw", config_dir=tmp_path)
    assert b"\r\nPassword: secret\r\n" in scanner.requests[0]
    (tmp_path / "pw").chmod(0o644)
    with pytest.raises(ConfigError, match="everybody may read"):
        await a_plugin(Rspamd, "password_file pw", config_dir=tmp_path)


@pytest.mark.parametrize(
    ("line", "text"), [("words yes", "Slow down"), ("", TEXT_LATER), ("words no", TEXT_LATER)]
)
async def test_words(line: str, text: str) -> None:
    answer = answering(action="soft reject", messages={"smtp_message": "Slow\r\ndown"})
    verdict, _, _ = await run(answer, line)
    assert verdict is not None
    assert verdict.text == text
    assert "Slow down" in verdict.reason


# --- failures ---


@pytest.mark.parametrize("on_error", ["defer", "pass"])
@pytest.mark.parametrize(
    "answer",
    [
        *NONSENSE,
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        answering(error="x"),
        answering()[:-5],
    ],
)
async def test_nonsense_is_no_verdict(answer: Answer, on_error: str) -> None:
    timeout = 0.1 if answer == SILENT else 60
    verdict, tx, _ = await run(answer, f"on_error {on_error} timeout {timeout}")
    if on_error == "pass":
        assert verdict is None
    else:
        assert verdict is not None
        assert (verdict.decision, verdict.code, verdict.status) == (Decision.DEFER, 451, "4.3.0")
    assert SPAM_RESULTS not in tx.notes


async def test_the_next_host(tmp_path: Path, nowhere: str) -> None:
    path = tmp_path / "s"
    async with fake_scanner(with_content_length, answering(action="reject"), path=path):
        plugin = await a_plugin(Rspamd, f"{nowhere},{path}")
        verdict = await plugin.hook_data_post(a_transaction(message=MESSAGE))
    assert verdict is not None
    assert verdict.decision is Decision.DENY


# --- who and what is checked ---


@pytest.mark.parametrize(
    ("line", "relay", "user", "listed", "checked"),
    [
        ("", False, "", "", True),
        ("", True, "", "", False),
        ("", True, "user", "", False),
        ("outgoing yes", True, "", "", True),
        ("outgoing yes", False, "", "listed", False),
    ],
)
async def test_who_is_checked(
    line: str, relay: bool, user: str, listed: str, checked: bool
) -> None:
    session = a_session(relay_client=relay)
    session.auth_user, session.whitelisted_host = user, listed
    verdict, _, scanner = await run(answering(action="reject"), line, session=session)
    assert bool(scanner.requests) == checked
    assert (verdict is not None) == checked


async def test_a_message_that_is_too_large() -> None:
    verdict, _, scanner = await run(answering(action="reject"), "size_limit 50")
    assert verdict is None
    assert scanner.requests == []


# --- greylisting ---


async def test_greylisting() -> None:
    clock = FakeClock()
    store = FakeStore(clock)

    async def attempt(ip: str = "192.0.2.1") -> bool:
        session = a_session(ip)
        answer, line = answering(action="greylist"), "greylist defer greylist_delay 5m"
        verdict, _, _ = await run(answer, line, session=session, clock=clock, store=store)
        if verdict is None:
            return True
        assert (verdict.decision, verdict.code, verdict.status) == (Decision.DEFER, 451, "4.7.1")
        return False

    assert [await attempt(), await attempt("192.0.2.77")] == [False, False]
    clock.advance(299)
    assert not await attempt("192.0.2.5")
    clock.advance(1)
    assert [await attempt(), await attempt("198.51.100.1")] == [True, False]
    store.down = True
    assert await attempt("203.0.113.1")


# --- changes ---


async def test_header_fields() -> None:
    milter = {
        "remove_headers": {"To": 0, "X-A": 2, "X-B": -1, "X-C": 5},
        "add_headers": {"X-Spam-Score": "6.2", "X-Low": {"value": "x", "order": 1}},
    }
    message = f"X-A: 1\nX-A: 2\nX-B: 1\nX-B: 2\nX-C: 1\n{MESSAGE}"
    signature = "v=1; a=rsa-sha256;\r\n\tb=xyz"
    answer = answering(action="no action", milter=milter, **{"dkim-signature": signature})
    _, tx, _ = await run(answer, message=message)
    assert fields(tx) == [
        ("DKIM-Signature", "v=1; a=rsa-sha256;\tb=xyz"),
        ("X-Spam-Score", "6.2"),
        ("X-A", "1"),
        ("X-Low", "x"),
        ("X-B", "1"),
        ("X-C", "1"),
        ("X-Old-Spam", "No"),
        ("From", "a@b.example"),
        ("Subject", "test"),
    ]


async def test_its_own_mark_is_enough() -> None:
    answer = answering(milter={"add_headers": {"X-Spam": "Yes"}})
    _, tx, _ = await run(answer)
    assert [value for name, value in fields(tx) if name == "X-Spam"] == ["Yes"]


@pytest.mark.parametrize(
    ("subject", "raw"),
    [
        ("*** SPAM *** test", b"Subject: *** SPAM *** test\r\n"),
        ("größer", b"Subject: =?utf-8?b?Z3LDtsOfZXI=?=\r\n"),
        ("a\r\nBcc: b", b"Subject: a\r\n\tBcc: b\r\n"),
        ("\ud800", b"Subject: =?utf-8?q?=3F?=\r\n"),
        (None, b"Subject: test\r\n"),
    ],
)
async def test_subjects(subject: str | None, raw: bytes) -> None:
    _, tx, _ = await run(answering(action="rewrite subject", subject=subject))
    assert tx.message is not None
    assert tx.message.headers.raw("Subject") == [raw]


@pytest.mark.parametrize(("line", "mode"), [("headers none", "enforce"), ("", "shadow")])
async def test_nothing_is_changed(line: str, mode: str) -> None:
    answer = answering(action="rewrite subject", subject="x", milter={"add_headers": {"X-A": "b"}})
    _, tx, _ = await run(answer, line, mode=mode)
    assert [name for name, _ in fields(tx)] == ["X-Spam", "From", "To", "Subject"]
    assert fields(tx)[-1] == ("Subject", "test")


# --- options and doctor ---


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("server a:b", "HOST:PORT"),
        ("settings [1]", "JSON object"),
        ("greylist_delay 0", "too small"),
        ("password_file none", "password_file: none"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(Rspamd, line)


async def test_doctor(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npong\r\n"
    async with (
        fake_scanner(with_content_length, answer) as good,
        fake_scanner(with_content_length, b"HTTP/1.1 404 \r\n\r\n") as bad,
    ):
        plugin = await a_plugin(Rspamd, f"{good.place},{bad.place}")
        first, second = await findings_of(plugin, FakeSystem(tmp_path))
    assert (first.severity.name, first.text) == ("OK", "answers: pong")
    assert (second.severity.name, second.text) == ("ERROR", "does not answer /ping with pong")
    assert good.requests[0].startswith(b"GET /ping HTTP/1.1\r\n")
