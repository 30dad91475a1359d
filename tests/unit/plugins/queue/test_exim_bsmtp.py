# SPDX-License-Identifier: MIT
"""queue/exim-bsmtp, with a program that records its input and answers like Exim."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpsmtpd.api import Seconds
from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.nexthop.eximtrust import PROGRAM
from qpsmtpd.plugins.queue import exim_bsmtp
from qpsmtpd.plugins.queue.exim_bsmtp import EximBsmtp, EximOptions
from qpsmtpd.testing import a_plugin, a_recipient, a_transaction
from tests.unit.client import PATIENCE
from tests.unit.scripts import a_script

#: What Exim 4.98 writes when it refuses.
REPORT = """cat >&2 <<END
An error was detected while processing a file of BSMTP input.
The error message was:

  {reply}

The SMTP transaction started in line 1.
The error was detected in line 9.
0 previous messages were successfully processed.
The rest of the batch was abandoned.
END
cat <<END
{reply}
Transaction started in line 1
Error detected in line 9
END
exit 2
"""


def a_message_on_its_way() -> Transaction:
    return a_transaction("s@example.com", "u@example.test", message="Subject: x\n\nHi\n")


def an_exim(directory: Path, end: str = "exit 0") -> str:
    text = f'echo "$@" > {directory}/arguments; cat > {directory}/input'
    return a_script(directory / "exim", f"{text}\n{end}")


async def verdict_when(tmp_path: Path, end: str) -> Verdict:
    plugin = await a_plugin(EximBsmtp, f"exim_path {an_exim(tmp_path, end)}")
    return await plugin.hook_queue(a_message_on_its_way())


async def test_batch(tmp_path: Path) -> None:
    plugin = await a_plugin(EximBsmtp, an_exim(tmp_path), me="mx.example")
    message = b"Subject: l\xe9\n\n.\n..\n.x\nend\xff"
    tx = a_transaction("s@example.com", "a@example.test", '"b c"@example.test', message=message)
    verdict = await plugin.hook_queue(tx)
    assert (verdict.decision, verdict.text) == (Decision.ACCEPT, "Queued")
    assert (tmp_path / "arguments").read_text() == "-bS\n"
    assert (tmp_path / "input").read_bytes() == (
        b"HELO mx.example\r\n"
        b"MAIL FROM:<s@example.com>\r\n"
        b"RCPT TO:<a@example.test>\r\n"
        b'RCPT TO:<"b c"@example.test>\r\n'
        b"DATA\r\n"
        b"Subject: l\xe9\r\n\r\n..\r\n...\r\n..x\r\nend\xff\r\n.\r\nQUIT\r\n"
    )


def test_options_not_given() -> None:
    options = EximOptions()
    assert options == EximOptions(exim_path="/usr/sbin/rsmtp", timeout=Seconds(300), processes=20)


@pytest.mark.parametrize("number", [1, 7])
async def test_how_many_run_at_once(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(exim_bsmtp, "Programs", limits.append)
    await a_plugin(EximBsmtp, f"processes {number}")
    assert limits == [number]


async def test_null_sender_and_local_part_in_unicode(tmp_path: Path) -> None:
    plugin = await a_plugin(EximBsmtp, an_exim(tmp_path))
    await plugin.hook_queue(a_transaction("", "ü@example.test", message="\n"))
    sent = (tmp_path / "input").read_bytes()
    assert b"\r\nMAIL FROM:<>\r\nRCPT TO:<\xc3\xbc@example.test>\r\n" in sent


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [("s@exämple.com", "u@example.test"), ("", "u@exämple.test"), ("s@a.test", "u@exämple.test")],
)
async def test_domain_in_unicode_is_refused(tmp_path: Path, sender: str, recipient: str) -> None:
    plugin = await a_plugin(EximBsmtp, an_exim(tmp_path))
    verdict = await plugin.hook_queue(a_transaction(sender, recipient, message="\n"))
    assert (verdict.decision, verdict.status) == (Decision.DENY, "5.6.7")
    assert not (tmp_path / "input").exists()


async def test_many_recipients(tmp_path: Path) -> None:
    plugin = await a_plugin(EximBsmtp, an_exim(tmp_path))
    recipients = [f"user{number}@example.test" for number in range(5000)]
    await plugin.hook_queue(a_transaction("s@example.com", *recipients, message="\n"))
    assert (tmp_path / "input").read_bytes().count(b"\nRCPT TO:") == 5000


@pytest.mark.parametrize(
    ("reply", "decision", "status", "text"),
    [
        ("550 go away", Decision.DENY, "5.7.1", "go away"),
        ("552 Message size exceeds", Decision.DENY, "5.3.4", "Message size exceeds"),
        ("501 bad address", Decision.DENY, "5.1.0", "bad address"),
        ("554 no", Decision.DENY, "5.0.0", "no"),
        ("452 space shortage", Decision.DEFER, "4.3.1", "space shortage"),
        ("421 Lost incoming connection", Decision.DEFER, "4.0.0", "Lost incoming connection"),
        ("550 nö", Decision.DENY, "5.7.1", "n?"),
        ("550 " + "x" * 500, Decision.DENY, "5.7.1", "x" * 200),
    ],
)
async def test_replies(
    tmp_path: Path, reply: str, decision: Decision, status: str, text: str
) -> None:
    verdict = await verdict_when(tmp_path, REPORT.format(reply=reply))
    assert (verdict.decision, verdict.status, verdict.text) == (decision, status, text)


@pytest.mark.parametrize(
    "end",
    [
        "echo 'exim: insufficient disk space' >&2; exit 1",
        "exit 1",
        "kill -9 $$",
        "echo '550 and yet taken'; exit 0",
        "exec sleep 60",
    ],
)
async def test_everything_unclear_defers(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"{an_exim(tmp_path, end)} timeout {0.1 if 'sleep' in end else PATIENCE}"
    plugin = await a_plugin(EximBsmtp, line)
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")


async def test_talk_without_reply_is_success_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verdict = await verdict_when(tmp_path, "echo 'warning: 5501 things'; exit 0")
    assert verdict.decision is Decision.ACCEPT
    assert "5501 things" in caplog.text


async def test_missing_program_is_said_at_start_and_defers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin = await a_plugin(EximBsmtp, "exim_path /nonexistent/rsmtp")
    assert "every message is deferred" in caplog.text
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")


async def test_other_program_where_the_default_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = set[str]()
    monkeypatch.setattr(os, "access", lambda path, _mode: path in there)
    plugin = await a_plugin(EximBsmtp)
    assert plugin._program == PROGRAM
    there.add(exim_bsmtp.DEFAULT_PROGRAM)
    assert plugin._program == exim_bsmtp.DEFAULT_PROGRAM


@pytest.mark.parametrize("line", ["rsmtp", "/x processes 0", "/x timeout soon", "/x what"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(EximBsmtp, line)


# --- who is known ---------------------------------------------------------------------------


async def test_exim_is_asked_who_is_known(tmp_path: Path) -> None:
    program = a_script(
        tmp_path / "exim",
        f"""echo "$@" >> {tmp_path}/arguments
        printf '> '
        while read -r line; do printf '%s failed to verify\\n> ' "$line"; done""",
    )
    plugin = await a_plugin(EximBsmtp, program)
    for _ in range(2):
        verification = await plugin.knows_recipient(a_recipient("u@example.test"), None)
        assert verification.answer == "unknown"
    await plugin.stop()
    assert (tmp_path / "arguments").read_text() == "-bv\n"


async def test_nobody_is_refused_when_exim_cannot_be_asked(tmp_path: Path) -> None:
    plugin = await a_plugin(EximBsmtp, f"{tmp_path}/none")
    assert (await plugin.knows_recipient(a_recipient(), None)).answer == "unavailable"
    assert (await plugin.knows_recipient(a_recipient("ü@example.test"), None)).answer == "unsure"


@pytest.mark.parametrize(
    ("line", "program"),
    [("", PROGRAM), ("/usr/sbin/rsmtp", PROGRAM), ("/opt/exim/exim", "/opt/exim/exim")],
)
async def test_the_program_that_is_asked(line: str, program: str) -> None:
    """Under the name rsmtp it does not look at its options."""
    assert (await a_plugin(EximBsmtp, line))._verifying_program == program
