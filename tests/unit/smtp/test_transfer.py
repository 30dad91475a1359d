# SPDX-License-Identifier: MIT
"""DATA: nothing is taken but what a queue plugin took, and every outcome is logged."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import (
    AuthResult,
    Headers,
    NoOptions,
    Note,
    Plugin,
    ReceivedInfo,
    ReversePath,
    Transaction,
    accept,
    defer,
    deny,
    parse_mailbox,
)
from qpsmtpd.errors import SpoolError
from qpsmtpd.mail.message import Spool
from qpsmtpd.plugin.chain import ChainedPlugin
from qpsmtpd.smtp import transfer
from qpsmtpd.smtp.connection import ClientGoneError
from qpsmtpd.testing import services
from tests.unit.fakewire import ENVELOPE, MESSAGE, Catcher, a_plugin_with, always, talk
from tests.unit.smtp.rfc8601 import Found, read

CLAIMED_RESULTS = b"Authentication-Results: mx.example; dkim=pass\r\n"
BROKEN_RESULTS = b"Authentication-Results\r\n : (x) mx.example 1; dkim=pass\r\n"
FOREIGN_RESULTS = b"authentication-Results:foreign.example ;\r\n  spf=pass smtp.helo=mx.example\r\n"
DATA = ENVELOPE + b"DATA\r\n"
HOOKS = [
    *("data_headers_end", "data_post_headers", "data_post", "queue_pre", "sign", "queue"),
    "queue_post",
]


BEGUN = Note[asyncio.Task[None]]("test.begun")


async def outcome(message: bytes = MESSAGE, *plugins: Any, **more: Any) -> tuple[str, list[bytes]]:
    """The reply behind the dot, and what was delivered; the session must stay in step."""
    catcher = Catcher()
    wire = await talk(DATA, message, b"VRFY\r\n", plugins=(*plugins, catcher), **more)
    assert wire.replies[-1] == "501 5.5.4 Syntax error in command"
    return wire.replies[-2], catcher.messages


async def test_order() -> None:
    wire = await talk(b"DATA\r\nEHLO x\r\nMAIL FROM:<>\r\nDATA\r\nDATA x\r\n")
    assert wire.replies[1] == "503 5.5.1 Send MAIL first"
    assert wire.replies[4:] == ["503 5.5.1 Send RCPT first", "501 5.5.4 No parameters allowed"]


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
    ("settings", "top", "kept"),
    [
        ({}, b"Authentication-Results: mx.example;\r\n\tauth=none\r\n", FOREIGN_RESULTS),
        (
            {"auth_results_of_others": "rename"},
            b"Authentication-Results: mx.example;\r\n\tauth=none\r\n",
            b"Original-"
            + CLAIMED_RESULTS
            + FOREIGN_RESULTS.replace(b"authentication", b"Original-Authentication"),
        ),
        (
            {"me_auth_results": "other.example"},
            b"Authentication-Results: other.example;\r\n\tauth=none\r\n",
            FOREIGN_RESULTS,
        ),
        ({"me_auth_results": "none"}, b"", CLAIMED_RESULTS + BROKEN_RESULTS + FOREIGN_RESULTS),
    ],
)
async def test_authentication_results(settings: dict[str, str], top: bytes, kept: bytes) -> None:
    """Ours on top, and nobody else's in our name; those of others as they came."""
    message = CLAIMED_RESULTS + BROKEN_RESULTS + FOREIGN_RESULTS + MESSAGE
    _, (delivered,) = await outcome(message, **settings)
    received = Headers.parse(delivered).fields()[0].raw
    assert delivered == received + top + kept + b"Subject: hello\r\n\r\nHello.\r\n"


async def test_removed_results_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await outcome(CLAIMED_RESULTS + BROKEN_RESULTS + MESSAGE)
    assert "forged Authentication-Results removed count=2" in caplog.messages


async def test_plugins_see_the_results_of_others_before_they_go() -> None:
    seen: list[list[str]] = []

    async def look(tx: Transaction) -> None:
        assert tx.message is not None
        seen.append(tx.message.headers.get_all("Authentication-Results"))

    await outcome(CLAIMED_RESULTS + MESSAGE, a_plugin_with(data_post_headers=look))
    assert seen == [["mx.example; dkim=pass"]]


async def test_results_of_plugins() -> None:
    async def find(tx: Transaction) -> None:
        tx.session.auth_results.append(AuthResult("iprev", "pass"))
        for domain in ("a.example", "x;dkim=pass"):
            tx.auth_results.append(AuthResult("dkim", "fail", properties={"header.d": domain}))

    _, (delivered,) = await outcome(MESSAGE, a_plugin_with(data_post_headers=find))
    value = Headers.parse(delivered).fields()[1].raw.partition(b": ")[2].removesuffix(b"\r\n")
    assert read(value.decode()) == (
        "mx.example",
        [
            Found("auth", "none", None, ()),
            Found("iprev", "pass", None, ()),
            Found("dkim", "fail", None, (("header.d", "a.example"),)),
            Found("dkim", "fail", None, (("header.d", "x?dkim?pass"),)),
        ],
    )


async def test_who_puts_which_field_where() -> None:
    def adds(name: str) -> Any:
        async def add(tx: Transaction, *_: object) -> Any:
            tx.add_header(name, "x")

        return add

    early = a_plugin_with(mail=adds("X-Mail"), data_post_headers=adds("X-Post-Headers"))
    late = a_plugin_with(
        data_post=adds("X-Post"), queue_pre=adds("X-Queue-Pre"), sign=adds("X-Sign")
    )
    _, (delivered,) = await outcome(MESSAGE, late, early)
    names = (
        "X-Sign X-Queue-Pre X-Post X-Post-Headers X-Mail Received Authentication-Results Subject"
    )
    assert Headers.parse(delivered).names() == names.split()


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


@pytest.mark.parametrize("hook", ["data_post_headers", "data_post", "queue_pre", "sign", "queue"])
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
    trace = [False, False, True, True, True, True, True]
    assert order == [f"{hook} {known}" for hook, known in zip(HOOKS, trace, strict=True)]


@pytest.mark.parametrize("begins", ["mail", "data_headers_end"])
async def test_no_hook_has_to_wait_for_what_is_known(begins: str) -> None:
    """What was begun beside has a turn before the first hook that sees the whole message."""
    done: list[bool] = []

    async def nothing_to_wait_for() -> None:
        pass

    async def begin(tx: Transaction, *_: Any) -> None:
        tx.notes[BEGUN] = tx.begin(nothing_to_wait_for())

    async def look(tx: Transaction) -> None:
        done.append(tx.notes[BEGUN].done())

    await outcome(MESSAGE, a_plugin_with(**{begins: begin, "data_post_headers": look}))
    assert done == [True]


async def test_the_client_may_go_during_the_hand_over(caplog: pytest.LogCaptureFixture) -> None:
    catcher = Catcher()
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        await talk(DATA, MESSAGE, ClientGoneError(), plugins=(catcher,))
    assert len(catcher.messages) == 1
    assert "message accepted" in caplog.text


# --- changes of plugins ---------------------------------------------------------------------


async def test_what_is_changed_at_the_end_of_the_headers_stays_changed() -> None:
    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        tx.message.headers.replace("Subject", "changed")

    _, (delivered,) = await outcome(MESSAGE, a_plugin_with(data_headers_end=change))
    assert delivered.endswith(b"\r\nSubject: changed\r\n\r\nHello.\r\n")


@pytest.mark.parametrize("hooks", [HOOKS[:3], HOOKS[1:3]])
async def test_the_header_section_as_it_came_stays_known(hooks: list[str]) -> None:
    seen: list[bytes] = []

    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        tx.message.headers.replace("Subject", "changed")
        seen.append(tx.received_header)

    await outcome(b" x\r\n" + MESSAGE, a_plugin_with(**dict.fromkeys(hooks, change)))
    assert seen == [b" x\r\nSubject: hello\r\n"] * len(hooks)


@pytest.mark.parametrize("hook", ["data_post_headers", "data_post", "queue_pre"])
@pytest.mark.parametrize("threshold", [0, 1 << 20])
async def test_another_body_is_handed_over(tmp_path: Path, hook: str, threshold: int) -> None:
    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        await tx.message.replace_body(block.upper() async for block in tx.message.stream_body())

    settings: dict[str, Any] = {"spool_dir": tmp_path, "size_threshold": threshold}
    _, (delivered,) = await outcome(MESSAGE, a_plugin_with(**{hook: change}), **settings)
    assert delivered.endswith(b"\r\nSubject: hello\r\n\r\nHELLO.\r\n")


async def test_a_body_that_cannot_be_one_is_a_fault() -> None:
    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        await tx.message.replace_body(b"no line end")

    reply, delivered = await outcome(MESSAGE, a_plugin_with(data_post=change))
    assert (reply[:3], delivered) == ("451", [])


@pytest.mark.parametrize("hook", HOOKS[:-3])
async def test_the_envelope_may_change(hook: str) -> None:
    envelopes = await envelopes_with(a_plugin_with(**{hook: change_envelope}))
    assert envelopes == [("", ["added@example.test"])]


@pytest.mark.parametrize("hook", ["mail", "rcpt", "sign", "queue"])
async def test_the_envelope_may_not_change(hook: str) -> None:
    """Before DATA, a client whose recipients were all refused could send a message."""
    assert await envelopes_with(a_plugin_with(**{hook: change_envelope})) == []


@pytest.mark.parametrize("hook", ["mail", *HOOKS[:-2]])
async def test_a_message_that_is_dropped(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    async def drop(tx: Transaction, *_: object) -> None:
        tx.drop(dropping, "because")

    caplog.set_level("INFO", "qpsmtpd")
    dropping = a_plugin_with(**{hook: drop})
    reply, delivered = await outcome(MESSAGE, dropping)
    assert (reply[:3], delivered) == ("250", [])
    said = [line for line in caplog.messages if "dropped" in line or "plugin=" in line]
    assert f"by={dropping.name} reason='because'" in said[0]
    assert f"plugin={dropping.name}" in said[-1]


async def change_envelope(tx: Transaction, *_: object) -> None:
    tx.add_recipient(parse_mailbox("added@example.test"))
    tx.remove_recipient(parse_mailbox("user@example.test"))
    tx.replace_reverse_path(None)


async def envelopes_with(plugin: Plugin[Any]) -> list[tuple[str, list[str]]]:
    """With what envelope messages are handed over."""
    envelopes: list[tuple[str, list[str]]] = []

    async def note(tx: Transaction) -> None:
        envelopes.append((tx.sender, [str(recipient) for recipient in tx.recipients]))

    await talk(DATA, MESSAGE, plugins=(plugin, a_plugin_with(queue=note), Catcher()))
    return envelopes


# --- taps -----------------------------------------------------------------------------------


class Tapping(Plugin[NoOptions]):
    """Taps a body in this hook, and keeps what it hears."""

    def __init__(self, hook: str, *, fails_at: bytes = b"nothing") -> None:
        super().__init__("tapping", NoOptions(), services())
        self.hook = hook
        self.fails_at = fails_at
        self.heard: list[bytes] = []
        self.asked: list[str] = []
        self.header: str | None = None

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> None:
        self._tap(tx, "mail")

    async def hook_data(self, tx: Transaction) -> None:
        self._tap(tx, "data")

    async def hook_data_headers_end(self, tx: Transaction) -> None:
        assert tx.message is not None
        self.header = tx.message.headers.get("Subject")
        self._tap(tx, "data_headers_end")

    async def hook_data_post_headers(self, tx: Transaction) -> None:
        self._tap(tx, "data_post_headers")

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        self.asked.append("reset_transaction")

    def _tap(self, tx: Transaction, hook: str) -> None:
        self.asked.append(hook)
        if hook == self.hook:
            tx.tap(self, self._listen)

    def _listen(self, block: bytes) -> None:
        self.heard.append(block)
        if self.fails_at in block:
            raise ValueError("a secret of the plugin")


TAPPED = b"Subject: hello\r\n\r\nHello.\r\n..\r\n\r\nA  line\r\n.\r\n"


@pytest.mark.parametrize("hook", ["mail", "data", "data_headers_end"])
async def test_a_tap_hears_the_body(hook: str) -> None:
    """In order and whole, wherever the message is cut, and after the header section."""
    for cut in range(1, len(TAPPED)):
        tapping, catcher = Tapping(hook), Catcher()
        wire = await talk(DATA, TAPPED[:cut], TAPPED[cut:], plugins=(tapping, catcher))
        assert wire.replies[-1] == "250 2.0.0 Caught"
        assert b"".join(tapping.heard) == b"Hello.\r\n.\r\n\r\nA  line\r\n"
        assert tapping.header == "hello"


@pytest.mark.parametrize("message", [b"Subject: x\r\n.\r\n", b"Subject: x\r\n\r\n.\r\n"])
async def test_a_tap_of_no_body(message: bytes) -> None:
    tapping = Tapping("data_headers_end")
    reply, _ = await outcome(message, tapping)
    assert reply == "250 2.0.0 Caught"
    assert tapping.heard == []


async def test_a_tap_of_a_large_body(tmp_path: Path) -> None:
    tapping = Tapping("data")
    body = b"x" * 998 + b"\r\n"
    blocks = [b"a: b\r\n\r\n" + body, *[body] * 300, b".\r\n"]
    wire = await talk(
        DATA, *blocks, plugins=(tapping, Catcher()), spool_dir=tmp_path, size_threshold=1000
    )
    assert wire.replies[-1] == "250 2.0.0 Caught"
    assert b"".join(tapping.heard) == body * 301
    assert max(map(len, tapping.heard)) < 2 * len(body)


async def test_it_is_too_late_for_a_tap() -> None:
    async def tap(tx: Transaction) -> None:
        tx.tap(tapping, heard.append)

    heard: list[bytes] = []
    tapping = Tapping("data_post_headers")
    for plugin in (tapping, a_plugin_with(data_post_headers=tap)):
        reply, messages = await outcome(MESSAGE, plugin)
        assert (reply[:3], messages) == ("451", [])


async def test_every_message_has_taps_of_its_own() -> None:
    tapping, catcher = Tapping("data"), Catcher()
    await talk(DATA, MESSAGE, DATA, TAPPED, plugins=(tapping, catcher))
    assert b"".join(tapping.heard) == b"Hello.\r\nHello.\r\n.\r\n\r\nA  line\r\n"
    assert len(catcher.messages) == 2


@pytest.mark.parametrize("rest", [b"", b"more\r\n"])
async def test_a_fault_in_a_tap_defers(caplog: pytest.LogCaptureFixture, rest: bytes) -> None:
    tapping = Tapping("data", fails_at=b"Hello")
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        reply, messages = await outcome(MESSAGE[:-3] + rest + b".\r\n", tapping)
    assert reply == "451 4.3.0 Internal error, please try again later"
    assert messages == []
    assert len(tapping.heard) == 1
    (fault,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert fault.message == "fault in a tap plugin=tapping"
    assert fault.exc_info
    (line,) = [message for message in caplog.messages if message.startswith("message refused")]
    assert " plugin=tapping " in line


async def test_a_plugin_that_may_be_left_out_is_left_out() -> None:
    """What it has heard is not the whole body: it would judge by it."""
    tapping = Tapping("data", fails_at=b"Hello")
    reply, (message,) = await outcome(MESSAGE, ChainedPlugin(tapping, skip_faults=True))
    assert reply == "250 2.0.0 Caught"
    assert message.endswith(b"\r\n\r\nHello.\r\n")
    assert tapping.asked == ["mail", "data", "data_headers_end", "reset_transaction"]


async def test_a_faulty_message_is_refused_for_that() -> None:
    tapping = Tapping("data", fails_at=b"Hello")
    reply, _ = await outcome(b"a: b\r\n\r\nHello\r\n\0\r\n.\r\n", tapping)
    assert reply == "550 5.5.2 NUL in message not allowed"


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


@pytest.mark.parametrize(
    ("field", "logged"),
    [
        (b"Message-ID: <1@client.example>", "'<1@client.example>'"),
        (b"message-id:\r\n\t<1@client.example>", "'<1@client.example>'"),
        (b"Message-ID: a'b\x07\xff c", '"a\'b?? c"'),
        (b"Message-ID: " + b"x" * 900, f"'{'x' * 250}'"),
        (b"X: y", "''"),
    ],
)
async def test_the_message_id_joins_the_logs(
    field: bytes, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = await summary(caplog, message=field + b"\r\nSubject: x\r\n\r\nHi\r\n.\r\n")
    assert f" message_id={logged} reply=" in line


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


LARGE = b"a: b\r\n\r\n" + b"x" * 998 + b"\r\n.\r\n"


async def test_a_spool_that_cannot_be_written_is_temporary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And no reason to say that the disk is full."""
    file = tmp_path / "file"
    file.touch()
    reply, delivered = await outcome(LARGE, spool_dir=file, size_threshold=100)
    assert (reply, delivered) == ("451 4.3.0 Message cannot be stored, please try again later", [])
    assert f"spool failed: {file}: Not a directory" in caplog.text


async def test_a_spool_directory_that_was_removed(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    reply, _ = await outcome(LARGE, spool_dir=missing, spool_perms="0710", size_threshold=100)
    assert reply == "250 2.0.0 Caught"
    assert missing.stat().st_mode & 0o777 == 0o710


async def test_a_disk_that_gets_full_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_spool: Spool) -> None:
        raise SpoolError("disk full", full=True)

    monkeypatch.setattr(Spool, "seal", full)
    assert await outcome(LARGE, size_threshold=100) == ("452 4.3.1 Insufficient system storage", [])


async def test_a_message_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    catcher = Catcher()
    more: dict[str, Any] = {"plugins": (catcher,), "spool_dir": tmp_path, "size_threshold": 0}
    await talk(DATA, b"a: b\r\n\r\nx\r\n", b"y\r\n", ClientGoneError(), **more)
    assert catcher.messages == []
    assert list(tmp_path.iterdir()) == []
