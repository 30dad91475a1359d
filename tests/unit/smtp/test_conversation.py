# SPDX-License-Identifier: MIT
"""The conversation: its order, its ends, and what a fault of a plugin costs."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from qpsmtpd.api import (
    DnsError,
    NoOptions,
    Note,
    Plugin,
    ReversePath,
    Session,
    Transaction,
    accept,
    defer,
    deny,
)
from qpsmtpd.plugin.chain import ChainedPlugin
from qpsmtpd.smtp import conversation
from qpsmtpd.smtp.commands import COMMANDS
from qpsmtpd.smtp.connection import ClientGoneError, ClientTimeoutError, ShutdownError
from qpsmtpd.smtp.conversation import MAX_COMMAND_LINE, converse
from qpsmtpd.testing import services
from tests.unit.fakewire import (
    ENVELOPE,
    MESSAGE,
    Catcher,
    FakeWire,
    a_connection,
    a_plugin_with,
    a_snapshot,
    always,
    fails,
    talk,
)

#: One of everything; the replies to it, without faults, have the codes below.
EVERYTHING = (
    b"HELO client.example\r\n" + ENVELOPE + b"DATA\r\n" + MESSAGE,
    b"VRFY user\r\nNOOP\r\nHELP\r\nXYZ\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\nQUIT\r\n",
)
NO_FAULT = [220, 250, 250, 250, 250, 354, 250, 252, 250, 214, 500, 535, 221]

#: The codes with a fault in this hook.
FAULTS: dict[str, list[int]] = {
    "pre_connection": [451],
    "connect": [451],
    "helo_parse": [220, 451, 250, 250, 250, 354, 250, 252, 250, 214, 500, 535, 221],
    "helo": [220, 451, 250, 250, 250, 354, 250, 252, 250, 214, 500, 535, 221],
    "ehlo_parse": [220, 250, 451, 250, 250, 354, 250, 252, 250, 214, 500, 500, 221],
    "ehlo": [220, 250, 451, 250, 250, 354, 250, 252, 250, 214, 500, 500, 221],
    "data_post_headers": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "received_line": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "data_post": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "queue_pre": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "sign": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "queue": [220, 250, 250, 250, 250, 354, 451, 252, 250, 214, 500, 535, 221],
    "vrfy": [220, 250, 250, 250, 250, 354, 250, 451, 250, 214, 500, 535, 221],
    "noop": [220, 250, 250, 250, 250, 354, 250, 252, 451, 214, 500, 535, 221],
    "help": [220, 250, 250, 250, 250, 354, 250, 252, 250, 451, 500, 535, 221],
    "unrecognized_command": [220, 250, 250, 250, 250, 354, 250, 252, 250, 214, 451, 535, 221],
    "auth_parse": [220, 250, 250, 250, 250, 354, 250, 252, 250, 214, 500, 451, 221],
    "auth_plain": [220, 250, 250, 250, 250, 354, 250, 252, 250, 214, 500, 451, 221],
    "auth": [220, 250, 250, 250, 250, 354, 250, 252, 250, 214, 500, 451, 221],
}
#: After the transaction is refused, the bytes of the message would be commands: sent apart.
ENVELOPE_FAULTS = {
    "mail_parse": [220, 250, 451, 503, 503],
    "mail_pre": [220, 250, 451, 503, 503],
    "mail": [220, 250, 451, 503, 503],
    "rcpt_parse": [220, 250, 250, 451, 503],
    "rcpt_pre": [220, 250, 250, 451, 503],
    "rcpt": [220, 250, 250, 451, 503],
    "data": [220, 250, 250, 250, 451],
}
#: Hooks that decide nothing: their fault is only logged.
TOLD = ("queue_post", "quit", "reset_transaction", "disconnect", "post_connection", "deny", "ok")


async def hangs(*_args: Any) -> None:
    await asyncio.Event().wait()


async def test_without_faults() -> None:
    catcher = Catcher()
    wire = await talk(*EVERYTHING, plugins=(catcher,), auth=("PLAIN",))
    assert wire.codes == NO_FAULT
    assert len(catcher.messages) == 1


@pytest.mark.parametrize("fault", [fails, hangs])
@pytest.mark.parametrize("hook", FAULTS)
async def test_a_fault_is_a_temporary_refusal(
    hook: str, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    catcher = Catcher()
    broken = ChainedPlugin(a_plugin_with("broken", **{hook: fault}), timeout=0.001)
    wire = await talk(*EVERYTHING, plugins=(broken, catcher), auth=("PLAIN",))
    assert wire.codes == FAULTS[hook]
    assert b"secret" not in b"".join(wire.writes)
    assert len(catcher.messages) == (wire.codes[6:7] == [250])
    assert f"fault hook={hook} plugin=broken" in caplog.text


@pytest.mark.parametrize("fault", [fails, hangs])
@pytest.mark.parametrize("hook", ENVELOPE_FAULTS)
async def test_a_fault_in_the_envelope(hook: str, fault: Any) -> None:
    broken = ChainedPlugin(a_plugin_with("broken", **{hook: fault}), timeout=0.001)
    wire = await talk(ENVELOPE + b"DATA\r\n", plugins=(broken, Catcher()))
    assert wire.codes == ENVELOPE_FAULTS[hook]
    assert "451 4.3.0 Internal error, please try again later" in wire.replies


async def test_a_fault_at_the_end_of_the_headers() -> None:
    catcher = Catcher()
    broken = a_plugin_with("broken", data_headers_end=fails)
    wire = await talk(*EVERYTHING, plugins=(broken, catcher))
    assert wire.codes[:7] == [220, 250, 250, 250, 250, 354, 451]
    assert catcher.messages == []


@pytest.mark.parametrize("hook", TOLD)
async def test_a_fault_of_who_is_only_told(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    catcher = Catcher()
    plugins = (a_plugin_with("broken", **{hook: fails}), catcher)
    wire = await talk(*EVERYTHING, plugins=plugins, auth=("PLAIN",))
    assert wire.codes == NO_FAULT
    assert wire.replies[-1] == "221 2.0.0 mx.example closing connection"
    assert len(catcher.messages) == 1
    faults = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert all(f"fault hook={hook} plugin=broken" in fault.message for fault in faults)
    assert faults


async def test_a_fault_may_be_skipped() -> None:
    broken = ChainedPlugin(a_plugin_with("broken", mail=fails, queue=fails), skip_faults=True)
    wire = await talk(*EVERYTHING, plugins=(broken, Catcher()), auth=("PLAIN",))
    assert wire.codes == NO_FAULT


async def test_a_fault_of_ours_after_the_first_line_of_the_greeting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All lines of a reply have one code."""
    connection = a_connection(wire := FakeWire())
    connection.session.teased = True
    monkeypatch.setattr(conversation, "ask_at_connect", fails)
    await converse(connection)
    assert wire.codes == [220, 421]


async def test_a_fault_of_ours_ends_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    async def disconnect(session: Session) -> None:
        told.append(session.id)

    monkeypatch.setitem(COMMANDS, "NOOP", fails)
    wire = await talk(b"NOOP\r\nQUIT\r\n", plugins=(a_plugin_with(disconnect=disconnect),))
    assert wire.replies[1:] == ["421 4.3.0 Internal error, closing connection"]
    assert "fault in the conversation" in caplog.text
    assert len(told) == 1


# --- greeting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "greeting"),
    [
        ("", "220 mx.example ESMTP qpsmtpd"),
        ("mx here", "220 mx here ESMTP"),
        ("mx ESMTP here", "220 mx ESMTP here"),
    ],
)
async def test_greeting(text: str, greeting: str) -> None:
    assert (await talk(smtpgreeting=text)).replies == [greeting]


@pytest.mark.parametrize("hook", ["pre_connection", "connect"])
@pytest.mark.parametrize(
    ("verdict", "code"),
    [(deny("no"), 550), (deny("no", disconnect=True), 550), (defer("no"), 0), (accept("yes"), 220)],
)
async def test_refusal_before_the_greeting(hook: str, verdict: Any, code: int) -> None:
    wire = await talk(b"NOOP\r\n", plugins=(a_plugin_with(**{hook: always(verdict)}),))
    if code == 220:
        assert wire.codes == [220, 250]
    else:
        assert wire.codes == [code or (451 if hook == "pre_connection" else 450)]


async def test_replies_are_collected_until_more_is_awaited() -> None:
    wire = await talk(ENVELOPE + b"DATA\r\n", MESSAGE + b"RSET\r\nNOOP\r\n", plugins=(Catcher(),))
    assert [write.count(b"\r\n") > 1 for write in wire.writes] == [False, True, True]
    assert wire.writes[2].startswith(b"250 2.0.0 Caught\r\n250 ")


# --- the ends -------------------------------------------------------------------------------


async def ends(*script: bytes | Exception) -> tuple[list[str], list[str]]:
    """Replies after the greeting, and the hooks of the end that were called."""
    called: list[str] = []

    def note(hook: str) -> Any:
        async def hooked(*_args: Any) -> None:
            called.append(hook)

        return hooked

    hooks = ("reset_transaction", "disconnect", "post_connection")
    plugin = a_plugin_with(**{hook: note(hook) for hook in hooks})
    wire = await talk(*script, plugins=(plugin, a_plugin_with(rcpt=always(accept()))))
    return wire.replies[1:], called


async def test_quit() -> None:
    replies, called = await ends(b"QUIT\r\nNOOP\r\n")
    assert replies == ["221 2.0.0 mx.example closing connection"]
    assert called == ["disconnect", "post_connection"]


@pytest.mark.parametrize(
    ("end", "reply"),
    [
        (ClientTimeoutError(), "421 4.4.2 Timeout, closing connection"),
        (ShutdownError(), "421 4.3.2 Service shutting down"),
        (ClientGoneError(), None),
    ],
)
@pytest.mark.parametrize("transaction", [b"", ENVELOPE, ENVELOPE + b"DATA\r\n"])
async def test_ends_that_are_not_asked_for(
    end: Exception, reply: str | None, transaction: bytes
) -> None:
    replies, called = await ends(transaction, end)
    assert replies[-1:] == [reply] if reply else "421" not in "".join(replies)
    wanted = ["reset_transaction"] if transaction else []
    assert called == [*wanted, "disconnect", "post_connection"]


@pytest.mark.parametrize("where", [ENVELOPE, ENVELOPE + b"DATA\r\n", ENVELOPE + b"DATA\r\nTo: "])
async def test_nothing_is_handed_over_without_the_dot(where: bytes) -> None:
    catcher = Catcher()
    await talk(where, plugins=(catcher,))
    assert catcher.messages == []
    assert catcher.resets == 1


async def test_a_stopping_server_ends_after_the_transaction() -> None:
    wire = FakeWire(ENVELOPE, b"DATA\r\n", MESSAGE, b"NOOP\r\n")
    catcher = Catcher()
    connection = a_connection(wire)

    async def drain(*_args: Any) -> None:
        connection.draining = True

    connection.snapshot = a_snapshot(a_plugin_with(mail=drain), catcher)
    await converse(connection)
    assert wire.codes == [220, 250, 250, 250, 354, 250, 421]
    assert wire.replies[-1] == "421 4.3.2 Service shutting down"
    assert len(catcher.messages) == 1


async def test_disconnecting_verdict() -> None:
    verdict = defer("later", disconnect=True)
    wire = await talk(ENVELOPE, plugins=(a_plugin_with(mail=always(verdict)),))
    assert wire.replies[2:] == ["421 4.7.1 later"]


# --- command lines --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"noop\r\n", "250 2.0.0 OK"),
        (b"NoOp   whatever\r\n", "250 2.0.0 OK"),
        (b"\r\n", "500 5.5.1 Command not recognized"),
        (b" NOOP\r\n", "500 5.5.1 Command not recognized"),
        (b"NOOP\tx\r\n", "500 5.5.1 Command not recognized"),
        (b"\xff\xfe\r\n", "500 5.5.1 Command not recognized"),
        (b"NOOP \0\r\n", "500 5.5.2 Bad characters in command"),
        (b"NO\rOP\r\n", "500 5.5.2 Bad characters in command"),
        (b"NOOP\r\r\n", "500 5.5.2 Bad characters in command"),
        (b"NOOP " + b"x" * (MAX_COMMAND_LINE - 5) + b"\r\n", "250 2.0.0 OK"),
        (b"NOOP " + b"x" * (MAX_COMMAND_LINE - 4) + b"\r\n", "500 5.5.2 Line too long"),
    ],
)
async def test_command_lines(line: bytes, reply: str) -> None:
    wire = await talk(line + b"VRFY\r\n")
    assert wire.replies[1:] == [reply, "501 5.5.4 Syntax error in command"]


async def test_a_bare_line_feed_closes() -> None:
    wire = await talk(b"NOOP\nNOOP\r\n")
    assert wire.replies[1:] == ["521 5.5.2 Lines must end with CRLF, closing connection"]


async def test_secrets_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "qpsmtpd"):
        await talk(b"AUTH PLAIN AHVzZXIAcGFzcw==\r\nMAIL \x1b[2J\r\n")
    assert "AHVz" not in caplog.text
    assert r"'MAIL \x1b[2J'" in caplog.text


# --- limits ---------------------------------------------------------------------------------


async def test_errors_are_limited() -> None:
    wire = await talk(b"BAD\r\n" * 9, max_errors=3)
    assert wire.codes == [220, 500, 500, 500, 500, 421]
    assert wire.replies[-1] == "421 4.7.0 Too many errors, closing connection"


async def test_junk_is_limited() -> None:
    wire = await talk(b"NOOP\r\n" * 9, max_junk_commands=3)
    assert wire.codes == [220, 250, 250, 250, 250, 421]
    assert wire.replies[-1] == "421 4.7.0 Too many commands, closing connection"


async def test_a_message_forgives_junk() -> None:
    message = ENVELOPE + b"DATA\r\n" + MESSAGE
    wire = await talk((message + b"NOOP\r\n") * 3, plugins=(Catcher(),), max_junk_commands=3)
    assert 421 not in wire.codes
    assert wire.codes.count(354) == 3


# --- what is left ----------------------------------------------------------------------------


async def _answer() -> None:
    await asyncio.sleep(0)


async def _no_answer() -> None:
    await asyncio.sleep(0)
    raise DnsError("SERVFAIL")


async def _never() -> None:
    await asyncio.Event().wait()


class Beginner(Plugin[NoOptions]):
    """Begins what a session and a transaction take along, and may wait for it."""

    work: Callable[[], Coroutine[Any, Any, None]]
    waits = False

    note = Note[asyncio.Task[None]]("beginner.task")

    async def hook_connect(self, session: Session) -> None:
        await self._begin(session, session)

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> None:
        await self._begin(tx, tx.session)

    async def _begin(self, owner: Session | Transaction, session: Session) -> None:
        task = owner.notes[self.note] = owner.begin(self._work_for(owner, session))
        if self.waits:
            with suppress(DnsError):
                await task

    async def _work_for(self, *owners: object) -> None:
        # What is in the frame counts.
        await type(self).work()


@pytest.mark.parametrize(
    ("work", "waits"),
    [(_answer, True), (_answer, False), (_no_answer, True), (_no_answer, False), (_never, False)],
)
async def test_a_session_leaves_the_collector_nothing(work: Any, waits: bool) -> None:
    plugin = Beginner("beginner", NoOptions(), services())
    plugin.waits, Beginner.work = waits, staticmethod(work)
    gc.collect()
    gc.disable()
    try:
        before = _sessions_and_transactions()
        words = b"EHLO x\r\n", ENVELOPE, b"RSET\r\n", ENVELOPE, b"QUIT\r\n"
        # asyncio keeps timers that were cancelled, with what they remember, behind those to come.
        talking = talk(*words, plugins=(plugin,), decisions_days=0)
        # The log's context of a task remembers its session.
        wire = await asyncio.create_task(talking)
        assert 451 not in wire.codes
        await asyncio.sleep(0)
        assert _sessions_and_transactions() == before
    finally:
        gc.enable()


def _sessions_and_transactions() -> int:
    return sum(isinstance(each, Session | Transaction) for each in gc.get_objects())
