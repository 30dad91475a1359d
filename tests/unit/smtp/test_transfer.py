# SPDX-License-Identifier: MIT
"""DATA: nothing is taken but what a queue plugin took, and every outcome is logged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import ReceivedInfo, Transaction, accept, defer, deny
from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.message import Spool
from qpsmtpd.smtp import transfer
from qpsmtpd.smtp.connection import ClientGoneError
from tests.unit.fakewire import ENVELOPE, MESSAGE, Catcher, a_plugin_with, always, talk

DATA = ENVELOPE + b"DATA\r\n"
HOOKS = ["data_headers_end", "data_post_headers", "data_post", "queue_pre", "queue", "queue_post"]


async def outcome(message: bytes = MESSAGE, *plugins: Any, **more: Any) -> tuple[str, list[bytes]]:
    """The reply behind the dot, and what was delivered; the session must stay in step."""
    catcher = Catcher()
    wire = await talk(DATA, message, b"VRFY\r\n", plugins=(*plugins, catcher), **more)
    assert wire.replies[-1] == "501 5.5.4 Syntax error in command"
    return wire.replies[-2], catcher.messages


async def test_order() -> None:
    wire = await talk(b"DATA\r\nEHLO x\r\nMAIL FROM:<>\r\nDATA\r\nDATA x\r\n")
    assert wire.replies[1] == "503 5.5.1 MAIL first"
    assert wire.replies[4:] == ["503 5.5.1 RCPT first", "501 5.5.4 No parameters allowed"]


async def test_a_message() -> None:
    reply, (message,) = await outcome()
    assert reply == "250 2.0.0 Caught"
    head, _, rest = message.partition(b"Subject: hello\r\n")
    assert rest == b"\r\nHello.\r\n"
    lines = head.replace(b"\r\n\t", b" ").splitlines()
    assert lines[0].startswith(
        b"Received: from client.example ([192.0.2.1]) by mx.example (qpsmtpd/"
    )
    assert lines[1] == b"Authentication-Results: mx.example; auth=none"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("setting", "field"),
    [("other.example", b"Authentication-Results: other.example;"), ("none", b"")],
)
async def test_authentication_results(setting: str, field: bytes) -> None:
    message = b"Authentication-Results: mx.example; auth=pass\r\n" + MESSAGE
    _, (delivered,) = await outcome(message, me_auth_results=setting)
    assert (b"\nOriginal-Authentication-Results: mx.example; auth=pass" in delivered) == bool(field)
    assert delivered.count(b"\nAuthentication-Results:") == 1
    assert field in delivered


async def test_a_plugin_supplies_received() -> None:
    told: list[ReceivedInfo] = []

    async def received_line(_tx: Transaction, info: ReceivedInfo) -> str:
        told.append(info)
        return "by a plugin"

    _, (message,) = await outcome(MESSAGE, a_plugin_with(received_line=received_line))
    assert message.startswith(b"Received: by a plugin\r\n")
    assert told == [ReceivedInfo("ESMTP", "", "")]


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (b"a: b\r\n\r\nx\ny\r\n.\r\n", "550 5.5.2 Bare CR or LF in message not allowed"),
        (b"a: b\r\n\r\n\n.\r\n\r\n.\r\n", "550 5.5.2 Bare CR or LF in message not allowed"),
        (b"a: b\r\n\r\n\0\r\n.\r\n", "550 5.5.2 NUL in message not allowed"),
        (b"a: b\r\n\r\n" + b"x" * 1001 + b"\r\n.\r\n", "550 5.6.0 Line too long in message"),
        (b"a: b\r\n" * 200 + b"\r\n.\r\n", "552 5.3.4 Message header too large"),
        (b"a:\r\n" * 21 + b"\r\n.\r\n", "552 5.3.4 Too many header fields"),
        (b"a: b\r\n\r\n" + b"x\r\n" * 700 + b".\r\n", "552 5.3.4 Message too big"),
    ],
)
async def test_refused_for_its_form(message: bytes, reply: str) -> None:
    limits = {
        "databytes": 2000,
        "max_line_length": 1000,
        "max_header_size": 1000,
        "max_headers": 20,
    }
    assert await outcome(message, **limits) == (reply, [])


@pytest.mark.parametrize("hook", ["data_post_headers", "data_post", "queue_pre", "queue"])
@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (deny("Spam"), "552 5.7.1 Spam"),
        (deny(), "552 5.7.1 Message refused"),
        (defer("Later"), "452 4.7.1 Later"),
        (deny("Virus", code=554), "554 5.7.1 Virus"),
    ],
)
async def test_refused_by_a_plugin(hook: str, verdict: Any, reply: str) -> None:
    assert await outcome(MESSAGE, a_plugin_with(**{hook: always(verdict)})) == (reply, [])


async def test_refused_before_the_354() -> None:
    plugins = (a_plugin_with(data=always(deny("No"))), Catcher())
    wire = await talk(DATA, plugins=plugins)
    assert wire.replies[4:] == ["554 5.7.1 No"]


async def test_refused_for_its_headers() -> None:
    """Only a refusal that disconnects is obeyed while the client is sending."""
    seen: list[str | None] = []

    async def look(tx: Transaction) -> Any:
        assert tx.message is not None
        seen.append(tx.message.headers.get("subject"))
        return deny("Stop", disconnect=len(seen) > 1)

    catcher = Catcher()
    plugins = (a_plugin_with(data_headers_end=look), catcher)
    first, second = b"Subject: x\r\n\r\ny\r\n.\r\n", b"Subject: z\r\n\r\ny"
    wire = await talk(DATA, first, DATA, second, plugins=plugins)
    assert wire.codes[4:6] == [354, 250]
    assert wire.replies[-1] == "554 5.7.1 Stop"
    assert seen == ["x", "z"]
    assert len(catcher.messages) == 1


async def test_accept_ends_a_hook_but_not_the_others() -> None:
    says_yes = a_plugin_with(**{hook: always(accept()) for hook in HOOKS if hook != "queue"})
    reply, messages = await outcome(MESSAGE, says_yes)
    assert reply == "250 2.0.0 Caught"
    assert len(messages) == 1


async def test_nobody_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    wire = await talk(DATA, MESSAGE, plugins=(a_plugin_with(rcpt=always(accept())),))
    assert wire.replies[-1] == "451 4.3.0 Message not queued, please try again later"
    assert "no queue plugin took the message" in caplog.text


async def test_hooks_run_in_order() -> None:
    order: list[str] = []

    def note(hook: str) -> Any:
        async def hooked(tx: Transaction) -> None:
            assert tx.message is not None
            order.append(f"{hook} {'Received' in tx.message.headers}")

        return hooked

    await outcome(MESSAGE, a_plugin_with(**{hook: note(hook) for hook in HOOKS}))
    trace = [False, False, True, True, True, True]
    assert order == [f"{hook} {known}" for hook, known in zip(HOOKS, trace, strict=True)]


async def test_the_client_may_go_during_the_hand_over(caplog: pytest.LogCaptureFixture) -> None:
    catcher = Catcher()
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await talk(DATA, MESSAGE, ClientGoneError(), plugins=(catcher,))
    assert len(catcher.messages) == 1
    assert "message accepted" in caplog.text


# --- the log --------------------------------------------------------------------------------


async def summary(caplog: pytest.LogCaptureFixture, *plugins: Any, message: bytes = MESSAGE) -> str:
    with caplog.at_level(logging.INFO, "qpsmtpd.smtp.transfer"):
        await outcome(message, *plugins)
    (line,) = [record.message for record in caplog.records if record.name == transfer.__name__]
    return line


async def test_nobody_took_it_and_nobody_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "qpsmtpd.smtp.transfer"):
        await talk(DATA, MESSAGE, plugins=(a_plugin_with("x", rcpt=always(accept())),))
    assert "plugin=core " in caplog.messages[-1]


async def test_one_line_for_an_accepted_message(caplog: pytest.LogCaptureFixture) -> None:
    async def name(tx: Transaction) -> None:
        tx.next_hop_id = "4711"

    line = await summary(caplog, a_plugin_with(queue=name))
    assert line.startswith(
        "message accepted ip=192.0.2.1 name=- helo='client.example' from='a@client.example'"
        " to='user@example.test' count=1 size=26 plugin=catcher next_hop_id=4711 seconds="
    )
    assert line.endswith(" reply=250 2.0.0 Caught")


async def test_who_took_it_is_named_after_queue_post(caplog: pytest.LogCaptureFixture) -> None:
    line = await summary(caplog, a_plugin_with("other", queue_post=always(accept())))
    assert "plugin=catcher " in line


async def test_who_refused_it_is_named(caplog: pytest.LogCaptureFixture) -> None:
    line = await summary(caplog, a_plugin_with("scanner", data_post=always(deny("Spam"))))
    assert line.startswith("message refused ")
    assert "plugin=scanner " in line
    assert line.endswith(" reply=552 5.7.1 Spam")


async def test_the_core_refused_it(caplog: pytest.LogCaptureFixture) -> None:
    line = await summary(caplog, message=b"a: b\r\n\r\n\0\r\n.\r\n")
    assert line.startswith("message refused ")
    assert "plugin=core " in line


# --- the spool ------------------------------------------------------------------------------


async def test_a_large_message_goes_through_a_file(tmp_path: Path) -> None:
    body = b"x" * 998 + b"\r\n"
    message = b"a: b\r\n\r\n" + body * 300 + b".\r\n"
    reply, (delivered,) = await outcome(message, spool_dir=tmp_path, size_threshold=1000)
    assert reply == "250 2.0.0 Caught"
    assert delivered.endswith(b"\r\n\r\n" + body * 300)
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_temporary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = tmp_path / "missing"
    blocks = b"a: b\r\n\r\n" + b"x" * 998 + b"\r\n"
    reply, delivered = await outcome(blocks + b".\r\n", spool_dir=missing, size_threshold=100)
    assert (reply, delivered) == ("452 4.3.1 Insufficient system storage", [])
    assert f"spool failed: {missing}: No such file or directory" in caplog.text


async def test_a_disk_that_gets_full_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_spool: Spool) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "seal", full)
    assert await outcome() == ("452 4.3.1 Insufficient system storage", [])


async def test_a_message_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    catcher = Catcher()
    more: dict[str, Any] = {"plugins": (catcher,), "spool_dir": tmp_path, "size_threshold": 0}
    await talk(DATA, b"a: b\r\n\r\nx\r\n", b"y\r\n", ClientGoneError(), **more)
    assert catcher.messages == []
    assert list(tmp_path.iterdir()) == []
