# SPDX-License-Identifier: MIT
"""aiosmtpd: handlers take part in real sessions, and none of their slips loses mail."""

from __future__ import annotations

import asyncio
import gc
import mailbox
import re
import ssl
import sys
import threading
import types
import weakref
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosmtpd
import pytest
import trustme
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import MISSING, SMTP
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import AuthExchange, Challenge, ConfigError, Session, Transaction
from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.plugins.aiosmtpd import Aiosmtpd
from qpsmtpd.testing import (
    FakeResolver,
    Serving,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    serve,
)
from tests.unit.client import Client, catcher, catching, on_both_loops, until, wire_of
from tests.unit.fakewire import talk
from tests.unit.handlers import samples

FAULT = "451 4.3.0 Internal error, please try again later"
MAIL = ("EHLO client.example", "MAIL FROM:<a@client.example>")
RCPT = "RCPT TO:<user@example.test>"


def line(name: str, *words: str) -> str:
    return " ".join(("aiosmtpd", f"{samples.HERE}:{name}", *words))


def handler_of(serving: Serving) -> Any:
    """The handler of the first line of the chain."""
    (plugin, *_) = (c.plugin for c in serving.server.snapshot.chain.plugins)
    assert isinstance(plugin, Aiosmtpd)
    return plugin._setup.handler


def session_of(serving: Serving) -> Session:
    """The only session."""
    connection = wire_of(serving).connection
    assert connection is not None
    return connection.session


def transaction_of(serving: Serving) -> Transaction:
    """Its transaction."""
    transaction = session_of(serving).transaction
    assert transaction is not None
    return transaction


@asynccontextmanager
async def talking(
    tmp_path: Path, *plugins: str, **files: Sequence[str]
) -> AsyncIterator[tuple[Client, Serving]]:
    """A client that has read the greeting of a server with these plugins and a catcher."""
    config = {**catching(tmp_path, *plugins), "auth_failure_pause": ["0"], **files}
    async with serve(config) as serving:
        client = await Client.of(serving)
        try:
            yield client, serving
        finally:
            await client.close()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aiosmtpd")]


# --- loading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "option 'handler' is required"),
        ("Mailbox", "'Mailbox' is not MODULE:CLASS"),
        ("aiosmtpd.handlers:Mailbox", "Mailbox: The directory for the maildir is required"),
        (f"{samples.HERE}:Idle x", "too many positional arguments"),
        (f"{samples.HERE}:Exits now=1", "SystemExit: 3"),
        (f"{samples.HERE}:Variadic", "aiosmtpd cannot use .*Variadic: Unsupported EHLO Hook"),
        (f"{samples.HERE}:Idle server={samples.HERE}:Meddling", "changes smtp_MAIL"),
        (f"{samples.HERE}:Idle authenticator={samples.HERE}:Idle", "is not a function"),
        (f"{samples.HERE}:Idle auth_callback={samples.HERE}:authenticator", "take 3 arguments"),
        (f"{samples.HERE}:Idle authenticator=a:b auth_callback=a:b", "not both"),
    ],
)
async def test_wrong_lines(words: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(Aiosmtpd, words)
    assert threads() == []


async def test_errors_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Own:\n    async def handle_MAIL(self, server):\n        return '250 OK'\n"
    )
    (tmp_path / "plugin_dirs").write_text(f"{tmp_path}\n")
    (tmp_path / "plugins").write_text(
        "aiosmtpd own:Own\naiosmtpd:1 own:Owm\naiosmtpd:2 aiosmtpd.handlers:Sink x\n"
        "rcpt_ok\nqueue/discard\n"
    )
    (tmp_path / "spool_dir").write_text(f"{tmp_path}/spool\n")
    with pytest.raises(ConfigErrors) as caught:
        await load([tmp_path], {}, resolver=FakeResolver())
    errors = [str(p) for p in caught.value.problems if p.severity == "error"]
    assert len(errors) == 3
    assert errors[0].startswith(f"{tmp_path}/own.py:2: aiosmtpd: Own.handle_MAIL(self, server)")
    assert errors[1] == (
        f"{tmp_path}/plugins:2: aiosmtpd:1: the module own has no Owm (did you mean Own?)"
    )
    assert errors[2].startswith(f"{tmp_path}/plugins:3: aiosmtpd:2: Sink: Sink handler does not")
    assert threads() == []


async def test_a_check_makes_nothing(tmp_path: Path) -> None:
    words = f"aiosmtpd.handlers:Mailbox {tmp_path}/Maildir"
    plugin = await a_plugin(Aiosmtpd, words, check_only=True)
    assert list(tmp_path.iterdir()) == []
    assert threads() == []
    await plugin.stop()
    with pytest.raises(ConfigError, match="missing a required argument"):
        await a_plugin(Aiosmtpd, f"{samples.HERE}:Typed", check_only=True)


async def test_a_hook_that_nobody_calls_is_told(caplog: pytest.LogCaptureFixture) -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:Misspelt")
    assert "Misspelt.handle_RECPT is not a hook of aiosmtpd, and is never called" in caplog.text
    await plugin.stop()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("", ()),
        ("a b=c", ("a", "b=c")),
        ("filter a decode_data", ("a", "decode_data")),
        ("-- filter --", ("filter", "--")),
        ("a -- b", ("a", "--", "b")),
    ],
)
async def test_words_for_the_handler(words: str, arguments: tuple[str, ...]) -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:FromCli {words}")
    assert plugin._setup.handler.words == arguments
    await plugin.stop()
    assert threads() == []


async def test_what_the_server_is_told() -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:Idle decode_data", databytes=10240)
    assert plugin._setup.data_size_limit == 10240
    assert plugin._setup.decode_data
    assert plugin._setup.hostname == "mx.example"
    await plugin.stop()


async def test_a_handler_without_hooks_is_never_asked() -> None:
    plugin = await a_plugin(Aiosmtpd, "aiosmtpd.handlers:Sink")
    session = a_session(ehlo="client.example")
    assert await plugin.hook_ehlo(session, "client.example") is None
    assert await plugin.hook_noop(session, "") is None
    assert await plugin.hook_connect(session) is None
    await plugin.hook_disconnect(session)
    assert plugin._server_note not in session.notes
    assert plugin.sasl_mechanisms() == ()
    await plugin.stop()


@pytest.mark.parametrize("logs_in", [False, True])
async def test_the_server_is_gone_with_its_session(logs_in: bool) -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:Mechanisms")
    session = a_session(ehlo="client.example")
    gc.disable()
    try:
        if logs_in:
            exchange = AuthExchange("TWO-STEPS")
            assert isinstance(await plugin.hook_auth_exchange(session, exchange), Challenge)
        else:
            await plugin._reply_by_server(session, "HELP", "")
        there = weakref.ref(session.notes[plugin._server_note])
        await plugin.hook_disconnect(session)
        await plugin.stop()
        assert there() is None
    finally:
        gc.enable()


# --- a whole session -------------------------------------------------------------------------


@on_both_loops
async def test_every_hook_takes_part(tmp_path: Path) -> None:
    chain = line("Says"), "rcpt_ok"
    async with talking(tmp_path, *chain, databytes=["10k"]) as (client, serving):
        handler = handler_of(serving)
        handler.statuses = {
            "MAIL": "250 2.1.0 Gladly",
            "DATA": "250-2.6.0 Thank\r\n250 2.6.0 you",
            "VRFY": "252 2.5.1 Perhaps",
            "QUIT": "221 2.0.0 See you",
            "NOOP": b"250 Indeed",
        }
        assert (await client.command("EHLO client.example")).startswith("250-mx.example greets")
        assert await client.command("NOOP some words") == "250 2.0.0 Indeed"
        assert await client.command("VRFY <user@example.test>") == "252 2.5.1 Perhaps"
        assert await client.command("MAIL FROM:<a@b.test> BODY=8bitmime") == "250 2.1.0 Gladly"
        assert await client.command("RSET") == "250 2.0.0 OK"
        assert await client.command("MAIL FROM:<>") == "250 2.1.0 Gladly"
        assert await client.command(RCPT) == "250 2.1.5 Recipient OK"
        assert await client.command("DATA") == "354 Go ahead, end with a dot on a line by itself"
        assert await client.deliver() == "250-2.6.0 Thank\n250 2.6.0 you"
        assert await client.command("QUIT") == "221 2.0.0 See you"
        assert await client.closed()
        calls = handler.calls
        assert [call[0] for call in calls] == [
            *("EHLO", "NOOP", "VRFY", "MAIL", "RSET", "MAIL", "RCPT", "DATA", "QUIT")
        ]
        assert calls[0][2][0] == "250-mx.example"
        assert calls[1:4] == [
            ("NOOP", "some words"),
            ("VRFY", "user@example.test"),
            ("MAIL", "a@b.test", ["BODY=8BITMIME"]),
        ]
        assert calls[5] == ("MAIL", "<>", [])
        assert calls[7][1].startswith(b"Received: from client.example ")
        assert calls[7][1].endswith(b"\r\nSubject: x\r\n\r\nHello.\r\n")
        assert handler.session.peer[0] == "127.0.0.1"
        assert handler.server.data_size_limit == 10240
        assert not catcher(serving).messages
    assert threads() == []


@pytest.mark.parametrize(
    ("hook", "commands", "number"),
    [
        ("HELO", ("HELO x",), 0),
        ("EHLO", ("EHLO x",), 0),
        ("MAIL", MAIL, 1),
        ("RCPT", (*MAIL, RCPT), 2),
        ("VRFY", ("VRFY x",), 0),
        ("NOOP", ("NOOP",), 0),
        ("RSET", ("RSET",), 0),
    ],
)
@pytest.mark.parametrize(
    ("status", "reply"),
    [
        ("550 5.7.99 No", "550 5.7.99 No"),
        ("450 4.7.99 Later", "450 4.7.99 Later"),
        (b"553-5.1.8 No,\r\n553 5.1.8 no", "553-5.1.8 No,\n553 5.1.8 no"),
        (None, FAULT),
        ("OK", FAULT),
        ("354 Go", FAULT),
        (True, FAULT),
        (ValueError("a secret of the handler"), FAULT),
        (SystemExit("a secret of the handler"), FAULT),
    ],
)
async def test_every_hook_can_refuse(
    tmp_path: Path, hook: str, commands: Sequence[str], number: int, status: Any, reply: str
) -> None:
    async with talking(tmp_path, line("Says")) as (c, s):
        handler_of(s).statuses[hook] = status
        replies = [await c.command(command) for command in commands]
        assert replies[number] == reply


@pytest.mark.parametrize("status", ["421 4.3.2 Leave", "521 Leave"])
async def test_some_refusals_close(tmp_path: Path, status: str) -> None:
    async with talking(tmp_path, line("Says")) as (client, serving):
        handler_of(serving).statuses["MAIL"] = status
        await client.command(MAIL[0])
        assert (await client.command(MAIL[1])).startswith(status[:3])
        assert await client.closed()


async def test_the_transport_closes(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Hangs")) as (client, _):
        assert await client.command("NOOP") == "421 4.3.2 Closing connection"
        assert await client.closed()


async def test_who_says_that_the_client_has_no_name(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Forgets")) as (client, _):
        assert (await client.command("HELO x")).startswith("250 ")
        assert (await client.command(MAIL[1])).startswith("503 5.5.1 Send HELO")


@pytest.mark.filterwarnings("ignore:Use the 5-argument handle_EHLO")
async def test_the_older_ehlo_adds_keywords(tmp_path: Path) -> None:
    async with talking(tmp_path, line("OldEhlo")) as (client, _):
        lines = (await client.command("EHLO x")).splitlines()
        assert lines[-2:] == ["250-XOLD 1", "250 XOLDER"]
        assert "250-PIPELINING" in lines


# --- changes ---------------------------------------------------------------------------------


async def test_what_is_rewritten_is_handed_over(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Rewrites"), "rcpt_ok") as (client, serving):
        ehlo = await client.command("EHLO client.example")
        assert "SMTPUTF8" not in ehlo
        assert ehlo.endswith("\n250 XNEW 1")
        assert await client.command(MAIL[1]) == "250 2.1.0 Rewritten"
        assert await client.command("RCPT TO:<user@elsewhere.test>") == "250 2.1.5 Recipient OK"
        session = session_of(serving)
        tx = transaction_of(serving)
        assert (tx.sender, list(map(str, tx.recipients))) == (
            "other@example.org",
            ["else@example.test"],
        )
        assert tx.utf8
        assert session.hello_host == "ehlo.example"


async def test_plugins_further_down_decide_about_recipients(tmp_path: Path) -> None:
    """A handler that takes everybody makes no open relay."""
    async with talking(tmp_path, line("Says"), "rcpt_ok") as (client, serving):
        assert await client.commands(*MAIL) == [250, 250]
        assert (await client.command("RCPT TO:<user@elsewhere.test>")).startswith("550 ")
        assert (await client.command(RCPT)).startswith("250 ")
        await client.command("RCPT TO:<next@example.test>")
        assert handler_of(serving).envelope.rcpt_tos == ["user@example.test", "next@example.test"]


async def test_unless_the_handler_is_to_accept_them(tmp_path: Path) -> None:
    chain = line("Rewrites", "accept_recipients", "a@b.test", "1@x.test", "2@x.test")
    async with talking(tmp_path, chain, "queue/discard") as (client, serving):
        assert await client.commands(*MAIL) == [250, 250]
        assert await client.command(RCPT) == "251 2.1.5 Rewritten"
        assert list(map(str, transaction_of(serving).recipients)) == ["2@x.test", "1@x.test"]


@pytest.mark.parametrize("words", [(), ("accept_recipients",)])
async def test_a_recipient_that_is_not_appended_is_none(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with talking(tmp_path, line("ForgetsRecipients", *words), "rcpt_ok") as (client, _):
        assert await client.commands(*MAIL) == [250, 250]
        assert await client.command(RCPT) == FAULT
        assert (await client.command("DATA")).startswith("503 5.5.1 Send RCPT first")


async def test_a_sender_that_is_not_set_is_none(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Forgets"), "rcpt_ok") as (client, _):
        assert (await client.command("EHLO x")).startswith("250-")
        assert await client.command(MAIL[1]) == FAULT
        assert (await client.command(RCPT)).startswith("503 5.5.1 Send MAIL first")


@pytest.mark.parametrize(
    ("content", "handed_over"),
    [
        (None, b"\r\nSubject: x\r\n\r\nHello.\r\n"),
        ("Subject: edited\n\nBye.\n", b"Subject: edited\r\n\r\nBye.\r\n"),
    ],
)
async def test_a_filter_hands_over_what_it_left(
    tmp_path: Path, content: str | None, handed_over: bytes
) -> None:
    async with talking(tmp_path, line("Edits", "filter"), "rcpt_ok") as (client, serving):
        handler = handler_of(serving)
        handler.recipients, handler.content = ["edited@example.test"], content
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert await client.deliver() == "250 2.0.0 Caught"
        (message,) = catcher(serving).messages
        assert message.endswith(handed_over)
        assert message == handed_over or content is None


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        ("250 OK", "250 2.0.0 Caught"),
        (MISSING, "250 2.0.0 Caught"),
        ("554 5.7.1 Spam", "554 5.7.1 Spam"),
        (None, FAULT),
    ],
)
async def test_a_filter_decides(tmp_path: Path, status: Any, reply: str) -> None:
    async with talking(tmp_path, line("Says", "filter"), "rcpt_ok") as (client, serving):
        handler_of(serving).statuses["DATA"] = status
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert await client.deliver() == reply


@pytest.mark.parametrize(
    ("status", "reply", "caught"),
    [
        ("250 2.6.0 Taken", "250 2.6.0 Taken", 0),
        (MISSING, "250 2.0.0 Caught", 1),
        (None, FAULT, 0),
        ("", FAULT, 0),
        ("OK", FAULT, 0),
        ("354 Go", FAULT, 0),
        (True, FAULT, 0),
        (["250 OK"], FAULT, 0),
        (RuntimeError("a secret of the handler"), FAULT, 0),
        ("452 4.3.1 Full", "452 4.3.1 Full", 0),
        ("554 5.7.1 Spam", "554 5.7.1 Spam", 0),
    ],
)
async def test_only_a_2xx_takes_a_message(
    tmp_path: Path, status: Any, reply: str, caught: int
) -> None:
    async with talking(tmp_path, line("Says"), "rcpt_ok") as (client, serving):
        handler_of(serving).statuses["DATA"] = status
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert await client.deliver() == reply
        assert len(catcher(serving).messages) == caught


async def test_a_handler_that_delivers_nothing_takes_nothing(tmp_path: Path) -> None:
    files = {"plugins": ["aiosmtpd aiosmtpd.handlers:Sink", "rcpt_ok"]}
    async with serve(files) as serving:
        client = await Client.of(serving)
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert (await client.deliver()).startswith("451 4.3.0 Message not queued")
        await client.close()


# --- faults and waits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reply"),
    [("542 5.3.5 Explained", "542 5.3.5 Explained"), ("250 Fine", FAULT), (None, FAULT)],
)
async def test_handle_exception(tmp_path: Path, answer: Any, reply: str) -> None:
    async with talking(tmp_path, line("Explains"), "rcpt_ok") as (client, serving):
        handler = handler_of(serving)
        handler.status, handler.answer = "250 OK", answer
        handler.statuses["DATA"] = ValueError("a secret of the handler")
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert await client.deliver() == reply


async def test_what_blocks_blocks_nobody_else(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Blocks")) as (client, serving):
        handler = handler_of(serving)
        client.send(b"NOOP\r\n")
        await asyncio.to_thread(handler.began.wait, 20)
        other = await Client.of(serving)
        assert (await other.command("EHLO other.example")).startswith("250-")
        handler.released.set()
        assert await client.reply() == "250 2.0.0 Released"
        await other.close()


async def test_hooks_that_are_not_coroutines(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Synchronous"), "rcpt_ok") as (client, _):
        assert await client.command("NOOP") == "250 2.0.0 aiosmtpd"
        assert await client.command("RSET") == "451 4.3.5 broken"
        assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
        assert await client.deliver() == "250 2.0.0 Taken"


async def test_what_was_given_up_touches_nothing_that_comes_next() -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:Stubborn")
    tx, slow, next_ = a_transaction(), a_recipient("slow@x.test"), a_recipient("next@x.test")
    given_up = asyncio.create_task(plugin.hook_rcpt(tx, slow))
    await asyncio.to_thread(plugin._setup.handler.began.wait, 20)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert await plugin.hook_rcpt(tx, next_) is None
    assert (str(next_), tx.recipients) == ("next@x.test", [])
    await plugin.stop()


async def test_a_hook_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    chain = f"{line('Stubborn')} hook_timeout=0.01s", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, _):
        assert await client.commands(*MAIL) == [250, 250]
        assert await client.command("RCPT TO:<slow@example.test>") == FAULT


async def test_a_fault_may_be_skipped(tmp_path: Path) -> None:
    chain = f"aiosmtpd on_fault=skip {samples.HERE}:Forgets", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, _):
        assert await client.commands(*MAIL, RCPT) == [250, 250, 250]


VERBS = (b"HELO ", b"EHLO ", b"NOOP ", b"VRFY ", b"RSET", b"AUTH TWO-STEPS ", b"AUTH OLD ", b"")
LINES = st.tuples(st.sampled_from((*VERBS, b"MAIL FROM:<", b"RCPT TO:<")), st.binary(max_size=30))


@given(st.lists(LINES, max_size=12))
async def test_no_client_raises_a_fault(lines: list[tuple[bytes, bytes]]) -> None:
    plugin = await a_plugin(Aiosmtpd, f"{samples.HERE}:Everything")
    mechanisms = plugin.sasl_mechanisms()
    text = b"".join(verb + rest.translate(None, b"\r\n\0") + b"\r\n" for verb, rest in lines)
    wire = await talk(
        b"EHLO x\r\n" + text, plugins=(plugin,), auth=mechanisms, exchanges=mechanisms
    )
    await plugin.stop()
    assert FAULT not in wire.replies
    assert not any("Internal" in reply for reply in wire.replies)


# --- authentication, TLS, proxies ------------------------------------------------------------


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


async def test_a_mechanism_of_a_handler(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Mechanisms"), "rcpt_ok") as (client, serving):
        ehlo = await client.command("EHLO client.example")
        assert "AUTH BROKEN CARELESS OLD PUSHES RUDE SILENT TWO-STEPS X-NAMED" in ehlo
        assert await client.command("AUTH TWO-STEPS") == f"334 {encoded('one')}"
        assert await client.command("*") == "501 5.7.0 Authentication cancelled"
        assert await client.command("AUTH two-steps") == f"334 {encoded('one')}"
        assert await client.command(encoded("1")) == f"334 {encoded('two')}"
        assert await client.command(encoded("2")) == "235 2.7.0 Authentication successful"
        assert await client.commands("MAIL FROM:<a@b.test>", "RCPT TO:<c@else.test>") == [250, 250]
        session = session_of(serving)
        assert (session.auth_user, session.auth_mechanism) == ("stepper", "TWO-STEPS")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("AUTH PUSHES", "432 4.7.12 Change your password"),
        ("AUTH SILENT", "535 5.7.8 Authentication credentials invalid"),
        ("AUTH OLD bad", "535 5.7.8 Authentication credentials invalid"),
        ("AUTH RUDE", FAULT),
        ("AUTH BROKEN", FAULT),
        ("AUTH PLAIN x", "504 5.5.4 Unrecognized authentication mechanism"),
    ],
)
async def test_log_ins_that_fail(tmp_path: Path, command: str, reply: str) -> None:
    async with talking(tmp_path, line("Mechanisms"), "rcpt_ok") as (client, _):
        await client.command("EHLO client.example")
        assert await client.command(command) == reply
        assert await client.commands("MAIL FROM:<a@b.test>", "RCPT TO:<c@else.test>") == [250, 550]


@pytest.mark.parametrize(
    "judge",
    ["authenticator=authenticator", "authenticator=Authenticator", "auth_callback=auth_callback"],
)
async def test_authenticators(tmp_path: Path, judge: str) -> None:
    option, _, name = judge.partition("=")
    chain = line("Idle", "auth_required", f"{option}={samples.HERE}:{name}")
    async with talking(tmp_path, chain, "rcpt_ok") as (client, _):
        assert (await client.command("EHLO x")).endswith("AUTH LOGIN PLAIN")
        assert await client.command(MAIL[1]) == "530 5.7.0 Authentication required"
        wrong, right = encoded("\0joe\0guess"), encoded("\0joe\0secret")
        assert (await client.command(f"AUTH PLAIN {wrong}")).startswith("535 5.7.8 ")
        assert (await client.command(f"AUTH PLAIN {right}")).startswith("235 2.7.0 ")
        assert await client.commands(MAIL[1], "RCPT TO:<c@else.test>") == [250, 250]


async def test_handle_auth_must_mean_it(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Auth"), "rcpt_ok") as (client, _):
        await client.command("EHLO x")
        assert await client.command("AUTH PLAIN liar") == FAULT
        assert await client.command("AUTH PLAIN") == f"334 {encoded('who?')}"
        assert await client.command(encoded("me")) == "235 2.7.0 Welcome"


async def test_a_client_that_leaves_in_an_exchange(tmp_path: Path) -> None:
    async with talking(tmp_path, line("Mechanisms")) as (client, serving):
        await client.command("EHLO x")
        await client.command("AUTH TWO-STEPS")
        client.reset()
        await until(lambda: not serving.server._protocols)
    assert threads() == []


def tls_files(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    ca = trustme.CA()
    issued = ca.issue_cert("mx.example")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return f"tls {tmp_path}/cert.pem {tmp_path}/key.pem", context


@pytest.mark.parametrize("good", ["yes", "no"])
async def test_tls_is_judged(tmp_path: Path, good: str) -> None:
    tls, context = tls_files(tmp_path)
    async with talking(tmp_path, line("Encrypts", f"tls={good}"), tls) as (client, serving):
        await client.start_tls(context)
        reply = await client.command("EHLO client.example")
        assert reply.startswith("250-" if good == "yes" else "554 5.7.0 Command refused due to")
        ((name, cipher, host),) = handler_of(serving).told
        assert (name, cipher[1][:3], host) == ("STARTTLS", "TLS", "client.example")


@pytest.mark.parametrize("good", ["yes", "no"])
async def test_a_proxy_is_judged(tmp_path: Path, good: str) -> None:
    files = {
        **catching(tmp_path, line("Encrypts", f"proxy={good}")),
        "proxy_networks": ["127.0.0.1"],
    }
    async with serve(files) as serving:
        client = await Client.connect(serving.host, serving.port)
        client.send(b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n")
        assert (await client.reply())[:3] == ("220" if good == "yes" else "550")
        ((name, peer, source, port),) = handler_of(serving).told
        assert (name, peer[0], source, port) == ("PROXY", "127.0.0.1", "192.0.2.7", 4000)
        await client.close()


# --- commands of a server --------------------------------------------------------------------


async def test_a_server_with_a_command_of_its_own(tmp_path: Path) -> None:
    chain = line("Idle", f"server={samples.HERE}:Pinging")
    async with talking(tmp_path, chain) as (client, _):
        assert await client.command("PING now") == "259 2.0.0 Pong now"
        assert await client.command("HELP ping") == "214 2.0.0 Syntax: PING [ignored]"
        assert (await client.command("HELP")).startswith("214 2.0.0 Supported commands: ")
        assert (await client.command("HELP mail")).startswith("214-2.0.0 This is qpsmtpd")
        assert await client.command("MUTE") == FAULT
        assert (await client.command("PONG")).startswith("500 5.5.1 ")


# --- how much of aiosmtpd is executed (ARCHITECTURE.md, decision 1) --------------------------

PACKAGE = str(Path(aiosmtpd.__file__).parent)


@asynccontextmanager
async def noting_functions() -> AsyncIterator[set[str]]:
    """The functions of aiosmtpd that are called meanwhile, in any thread that begins meanwhile."""
    called: set[str] = set()

    def note(frame: types.FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            called.add(frame.f_code.co_name)

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def test_without_the_plugin_nothing_is_executed(tmp_path: Path) -> None:
    async with noting_functions() as called, talking(tmp_path) as (client, _):
        assert await deliver(client) == "250 2.0.0 Caught"
        await client.command("QUIT")
    assert called <= {"__del__"}


async def test_with_it_a_handler_gets_the_real_thing(tmp_path: Path) -> None:
    chain = line("Says", f"authenticator={samples.HERE}:authenticator"), "rcpt_ok"
    async with noting_functions() as called, talking(tmp_path, *chain) as (client, _):
        await client.command("EHLO x")
        await client.command("AUTH LOGIN")
        await client.command(encoded("joe"))
        await client.command(encoded("secret"))
        await client.command("MAIL FROM:<a@b.test>")
    assert called > {
        *("__init__", "_create_session", "_create_envelope", "_set_rset_state"),
        *("smtp_AUTH", "auth_LOGIN", "challenge_auth", "push", "_authenticate"),
        *("check_helo_needed", "check_auth_needed"),
    }
    assert not {"smtp_MAIL", "_handle_client", "connection_made"} & called


# --- aiosmtpd's own handlers -----------------------------------------------------------------


async def deliver(client: Client) -> str:
    assert await client.commands(*MAIL, RCPT, "DATA") == [250, 250, 250, 354]
    return await client.deliver()


@on_both_loops
async def test_mailbox(tmp_path: Path) -> None:
    chain = f"aiosmtpd aiosmtpd.handlers:Mailbox {tmp_path}/Maildir", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, serving):
        assert isinstance(handler_of(serving), Mailbox)
        assert await deliver(client) == "250 2.0.0 OK"
    (message,) = mailbox.Maildir(tmp_path / "Maildir")
    assert message["Subject"] == "x"
    assert message["Received"].startswith("from client.example ")
    assert message["X-MailFrom"] == "a@client.example"
    assert message["X-RcptTo"] == "user@example.test"
    assert message["X-Peer"].startswith("('127.0.0.1', ")


async def test_mailbox_that_is_gone(tmp_path: Path) -> None:
    chain = f"aiosmtpd aiosmtpd.handlers:Mailbox {tmp_path}/Maildir", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, _):
        (tmp_path / "Maildir").rename(tmp_path / "gone")
        assert await deliver(client) == FAULT


@pytest.mark.parametrize("words", [(), ("decode_data",)])
async def test_message_and_async_message(tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in ("Keeps", "KeepsAsync"):
        async with talking(tmp_path, line(name, *words), "rcpt_ok") as (client, serving):
            assert await deliver(client) == "250 2.0.0 OK"
            handler = handler_of(serving)
            (message,) = handler.kept
            assert (message["Subject"], message["X-RcptTo"]) == ("x", "user@example.test")
            assert message.get_payload().strip() == "Hello."
            if name == "Keeps":
                assert handler.threads == {"aiosmtpd"}
            else:
                assert len(handler.loops) == 1


async def test_debugging(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chain = "aiosmtpd aiosmtpd.handlers:Debugging stderr", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, _):
        assert await deliver(client) == "250 2.0.0 OK"
    text = capfd.readouterr().err
    assert re.search(
        r"MESSAGE FOLLOWS.*Subject: x\nX-Peer: \('127.*\n\nHello\.\n-+ END", text, re.S
    )


@asynccontextmanager
async def next_hop(handler: Any) -> AsyncIterator[int]:
    """An aiosmtpd server of its own; its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="hop.example", loop=loop), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_proxy_to_a_next_hop(tmp_path: Path) -> None:
    hop = samples.Says()
    async with next_hop(hop) as port:
        chain = f"aiosmtpd aiosmtpd.handlers:Proxy 127.0.0.1 {port}", "rcpt_ok"
        async with talking(tmp_path, *chain) as (client, _):
            assert await deliver(client) == "250 2.0.0 OK"
            (content,) = [call[1] for call in hop.calls if call[0] == "DATA"]
            assert content.endswith(b"Subject: x\r\nX-Peer: 127.0.0.1\r\n\r\nHello.\r\n")
            assert ("RCPT", "user@example.test", []) in hop.calls
            for hook in ("RCPT", "DATA"):
                hop.statuses = {hook: "550 5.1.1 No"}
                assert await deliver(client) == FAULT


async def test_proxy_without_a_next_hop(tmp_path: Path, nowhere: str) -> None:
    host, port = nowhere.split(":")
    chain = f"aiosmtpd aiosmtpd.handlers:Proxy {host} {port}", "rcpt_ok"
    async with talking(tmp_path, *chain) as (client, _):
        assert await deliver(client) == FAULT
