# SPDX-License-Identifier: MIT
"""queue/qmail-queue, with a program that records both descriptors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.message import Body, Message
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Decision
from qpsmtpd.plugins.queue import qmail_queue
from qpsmtpd.plugins.queue.qmail_queue import QmailQueue, _message
from qpsmtpd.testing import a_plugin, a_transaction
from tests.unit.scripts import a_script


def a_message_on_its_way() -> Transaction:
    return a_transaction("s@example.com", "u@example.test", message="Subject: x\n\nHi\n")


def a_queue(directory: Path, end: str = "exit 0") -> str:
    """A qmail-queue that records what it gets, and ends as told."""
    text = f"cat > {directory}/message; cat <&1 > {directory}/envelope; echo $$ > {directory}/pid"
    return a_script(directory / "qmail-queue", f"{text}\n{end}")


async def test_message_and_envelope(tmp_path: Path) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path))
    tx = a_transaction(
        "s@example.com",
        "a@example.test",
        '"b c"@example.test',
        message="Subject: x\n\n.\nHi\n",
    )
    verdict = await plugin.hook_queue(tx)
    assert verdict.decision is Decision.ACCEPT
    assert (tmp_path / "message").read_bytes() == b"Subject: x\n\n.\nHi\n"
    assert (
        tmp_path / "envelope"
    ).read_bytes() == b"Fs@example.com\0Ta@example.test\0Tb c@example.test\0\0"
    assert tx.next_hop_id == f"qp {(tmp_path / 'pid').read_text().strip()}"
    assert verdict.text == f"Queued as {tx.next_hop_id}"


async def test_null_sender(tmp_path: Path) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path))
    await plugin.hook_queue(a_transaction("", "a@example.test", message="\n"))
    assert (tmp_path / "envelope").read_bytes() == b"F\0Ta@example.test\0\0"


async def test_addresses_are_as_the_client_wrote_them(tmp_path: Path) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path))
    await plugin.hook_queue(a_transaction("S@Example.COM", "U@Bücher.Example", message="\n"))
    envelope = "FS@Example.COM\0TU@Bücher.Example\0\0"
    assert (tmp_path / "envelope").read_bytes() == envelope.encode()


async def test_many_recipients(tmp_path: Path) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path))
    recipients = [f"user{number}@example.test" for number in range(5000)]
    await plugin.hook_queue(a_transaction("s@example.com", *recipients, message="\n"))
    assert (tmp_path / "envelope").read_bytes().count(b"\0T") == 5000


@pytest.mark.parametrize("status", [11, 31, 40, 115])
async def test_permanent_problems(tmp_path: Path, status: int) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path, f"exit {status}"))
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert verdict.decision is Decision.DENY
    assert verdict.status.startswith("5.")


@pytest.mark.parametrize(
    "status", [1, 10, 41, 51, 52, 53, 54, 55, 56, 61, 66, 71, 74, 81, 82, 91, 100, 111, 120]
)
async def test_temporary_problems(tmp_path: Path, status: int) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path, f"exit {status}"))
    tx = a_message_on_its_way()
    verdict = await plugin.hook_queue(tx)
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")
    assert tx.next_hop_id == ""


async def test_signal_defers_and_stderr_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = await a_plugin(QmailQueue, a_queue(tmp_path, "echo trouble >&2; kill -9 $$"))
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert verdict.decision is Decision.DEFER
    assert "exit_status=-9 output='trouble\\n'" in caplog.text
    assert caplog.records[-1].levelname == "ERROR"


async def test_program_that_does_not_read_all(tmp_path: Path) -> None:
    script = a_script(tmp_path / "q", "exit 53")
    plugin = await a_plugin(QmailQueue, script)
    tx = a_transaction("s@example.com", "u@example.test", message="\n" + "x" * 1_000_000)
    assert (await plugin.hook_queue(tx)).decision is Decision.DEFER


async def test_slow_program_defers(tmp_path: Path) -> None:
    plugin = await a_plugin(QmailQueue, f"{a_queue(tmp_path, 'exec sleep 60')} timeout 0.1")
    verdict = await plugin.hook_queue(a_message_on_its_way())
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.3.0")


async def test_missing_program_defers() -> None:
    plugin = await a_plugin(QmailQueue, "/nonexistent/qmail-queue")
    assert (await plugin.hook_queue(a_message_on_its_way())).decision is Decision.DEFER


async def test_which_program() -> None:
    everything = {"QMAIL": "/home/qmail", "QMAILQUEUE": "/of/environment"}
    home = {"QMAIL": "/home/qmail"}
    assert (await a_plugin(QmailQueue, "/of/line", environment=everything))._program == (
        "/of/environment"
    )
    assert (await a_plugin(QmailQueue, "/of/line", environment=home))._program == "/of/line"
    assert (await a_plugin(QmailQueue, environment=home))._program == "/home/qmail/bin/qmail-queue"
    assert (await a_plugin(QmailQueue))._program == "/var/qmail/bin/qmail-queue"


@pytest.mark.parametrize(("line", "number"), [("", 20), ("processes 1", 1), ("processes 7", 7)])
async def test_how_many_run_at_once(
    line: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    monkeypatch.setattr(qmail_queue, "Programs", limits.append)
    await a_plugin(QmailQueue, line)
    assert limits == [number]


@pytest.mark.parametrize("line", ["bin/qmail-queue", "/q timeout soon", "/q processes 0", "/q x y"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(QmailQueue, line)


@given(st.lists(st.sampled_from([b"a", b"\r\n", b".", b"bc"])), st.integers(1, 4))
async def test_line_ends_in_any_blocks(parts: list[bytes], size: int) -> None:
    data = b"\r\n" + b"".join(parts)

    class InBlocks(Message):
        async def stream(self) -> AsyncIterator[bytes]:
            for start in range(0, len(data), size):
                yield data[start : start + size]

    tx = a_transaction()
    whole = Message.from_bytes(data)
    tx.message = InBlocks(whole.headers, Body(b"", None, 0), len(data))
    sent = b"".join([block async for block in _message(tx)])
    assert sent == data.replace(b"\r\n", b"\n")
