# SPDX-License-Identifier: MIT
"""A stranger waits for the replies that RFC 2920 has him wait for; others need not."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from qpsmtpd.api import Session, Trail, accept, deny
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.testing import a_session, serve
from tests.unit.client import Client, catcher, catching, on_both_loops, until, wire_of
from tests.unit.fakewire import (
    ENVELOPE,
    MESSAGE,
    Catcher,
    FakeWire,
    a_connection,
    a_plugin_with,
    always,
    talk,
)

EHLO = b"EHLO x\r\n"
MAIL = b"MAIL FROM:<>\r\n"
RCPT = b"RCPT TO:<user@example.test>\r\n"
AUTH = b"AUTH PLAIN AGEAYg==\r\n"
CHUNK = b"BDAT 6\r\nNOOP\r\n"
CLOSED = "554 5.5.1 You did not wait for our reply, closing connection"
LET_IN = a_plugin_with("let_in", auth=always(accept()))


async def strictly(*script: bytes, catcher: Catcher | None = None, **more: Any) -> FakeWire:
    plugins = (catcher or Catcher(), LET_IN)
    settings = {"forbid_unauth_pipelining": True, "auth": ("PLAIN", "LOGIN")} | more
    return await talk(*script, plugins=plugins, **settings)


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ([EHLO + MAIL], [554]),
        ([EHLO + b"NOOP\r\n"], [554]),
        ([EHLO + b"M"], [554]),
        ([b"HELO x\r\n" + MAIL], [554]),
        ([b"NOOP\r\n" + EHLO], [554]),
        ([b"HELO x\r\n", MAIL + RCPT], [250, 554]),
        ([b"HELO x\r\n", MAIL, RCPT + b"DATA\r\n"], [250, 250, 554]),
        ([EHLO, MAIL, EHLO + MAIL], [250, 250, 554]),
        ([EHLO, MAIL + RCPT + b"DATA\r\n" + MESSAGE], [250, 250, 250, 554]),
        ([EHLO, MAIL + RCPT + b"DATA\r\n\r\n"], [250, 250, 250, 554]),
        ([EHLO, AUTH + MAIL], [250, 554]),
        ([EHLO, b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n"], [250, 554]),
        ([EHLO, MAIL + b"DATA\r\nNOOP\r\n"], [250, 250, 554]),
        ([EHLO, MAIL + RCPT + b"DATA x\r\nNOOP\r\n"], [250, 250, 250, 554]),
        ([EHLO, b"NOOP\r\n" + MAIL], [250, 554]),
        ([EHLO, b"VRFY x\r\n" + MAIL], [250, 554]),
        ([EHLO, b"VRFY\r\n" + MAIL], [250, 554]),
        ([EHLO, b"EXPN x\r\n" + MAIL], [250, 554]),
        ([EHLO, b"ETRN x\r\n" + MAIL], [250, 554]),
        ([EHLO, b"TURN\r\n" + MAIL], [250, 554]),
        ([EHLO, b"EHLO\r\n" + MAIL], [250, 554]),
        ([EHLO, b"STARTTLS\r\n" + EHLO], [250, 554]),
        ([EHLO, MAIL, AUTH + MAIL], [250, 250, 554]),
        ([EHLO, MAIL + RCPT + CHUNK + b"NOOP\r\n" + CHUNK], [250, 250, 250, 250, 554]),
        ([EHLO, MAIL + RCPT + b"DATA\r\n" + CHUNK], [250, 250, 250, 554]),
    ],
)
async def test_who_does_not_wait(
    script: list[bytes], codes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    catcher = Catcher()
    wire = await strictly(*script, catcher=catcher)
    assert wire.codes == [220, *codes]
    assert wire.replies[-1] == CLOSED
    assert catcher.messages == []
    assert "refused ip=192.0.2.1 " in caplog.text


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ([EHLO, MAIL + RCPT + RCPT + b"DATA\r\n", MESSAGE + b"QUIT\r\n"], [250, 354, 250, 221]),
        ([EHLO, MAIL + RCPT + b"DATA\r\n", MESSAGE + MAIL + RCPT + b"DATA\r\n", MESSAGE], []),
        ([EHLO, MAIL + b"DATA\r\n", b"NOOP\r\n", RCPT], [503, 250, 250]),
        ([EHLO, b"RSET\r\n" + MAIL + b"QUIT\r\n"], [221]),
        ([EHLO, b"HELP\r\nFLY\r\nSEND FROM:<>\r\nNOOP\r\n"], [500, 502, 250]),
        ([EHLO, MAIL + RCPT + CHUNK + CHUNK + b"RSET\r\nQUIT\r\n"], [250, 250, 250, 221]),
        ([EHLO, b"QUIT\r\n\r\n"], [221]),
        ([b"HELO x\r\n", MAIL, RCPT, b"DATA\r\n", MESSAGE + b"QUIT\r\n"], [354, 250, 221]),
        ([EHLO, AUTH, MAIL + RCPT + b"DATA\r\n" + MESSAGE], [354, 250]),
    ],
)
async def test_who_may_send_in_groups(script: list[bytes], codes: list[int]) -> None:
    """And who has logged in, may send as he likes."""
    catcher = Catcher()
    wire = await strictly(*script, catcher=catcher)
    assert 554 not in wire.codes
    assert wire.codes[len(wire.codes) - len(codes) :] == codes
    assert len(catcher.messages) == b"".join(script).count(MESSAGE)


def a_relay_client() -> Session:
    return a_session(relay_client=True)


def a_listed_client() -> Session:
    session = a_session()
    session.whitelisted_host = "yes"
    return session


@pytest.mark.parametrize("client", [a_relay_client, a_listed_client])
async def test_who_need_not_wait(client: Any) -> None:
    catcher = Catcher()
    script = ENVELOPE + b"DATA\r\n" + MESSAGE + b"QUIT\r\n"
    wire = await strictly(script, catcher=catcher, session=client())
    assert wire.codes == [220, 250, 250, 250, 354, 250, 221]
    assert len(catcher.messages) == 1


async def noted(*script: bytes, **more: Any) -> tuple[FakeWire, list[str]]:
    """What is noted about a client that does not wait, and the wire."""
    session = more.pop("session", None) or a_session()
    wire = FakeWire(*script)
    settings = {"forbid_unauth_pipelining": False} | more
    trails = [session.trail]
    remember = a_plugin_with("remember", mail=lambda tx, _: _keep(trails, tx.trail))
    connection = a_connection(wire, Catcher(), LET_IN, remember, session=session, **settings)
    await converse(connection)
    said = [answer for trail in trails for answer in trail if answer.plugin == "core"]
    return wire, [answer.outcome for answer in said]


async def _keep(trails: list[Trail], trail: Trail) -> None:
    trails.append(trail)


async def test_who_is_forgiven_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wire, outcomes = await noted(EHLO + b"NOOP\r\n" + MAIL + RCPT + b"DATA\r\n" + MESSAGE)
    assert wire.codes == [220, 250, 250, 250, 250, 354, 250]
    # Before EHLO commands may not come in groups at all.
    assert outcomes == ["tolerated"] * 3
    lines = [line for line in caplog.messages if "did not wait" in line]
    assert lines == ["did not wait for the reply to=command tolerated=yes"]


async def test_who_is_refused_is_noted() -> None:
    _, outcomes = await noted(EHLO, b"NOOP\r\n" + MAIL, forbid_unauth_pipelining=True)
    assert outcomes == ["decided"]


async def test_what_comes_after_quit_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wire, outcomes = await noted(EHLO, b"QUIT\r\nQUIT\r\n", forbid_unauth_pipelining=True)
    assert wire.codes == [220, 250, 221]
    assert outcomes == ["tolerated"]
    assert "did not wait for the reply to=quit tolerated=yes" in caplog.messages


async def test_nothing_is_noted_of_those_whom_we_know(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    script = EHLO + b"NOOP\r\nQUIT\r\nQUIT\r\n"
    _, outcomes = await noted(script, session=a_relay_client())
    assert (outcomes, [line for line in caplog.messages if "did not wait" in line]) == ([], [])


async def test_who_logs_in_need_not_have_waited() -> None:
    wire = await strictly(EHLO, b"AUTH LOGIN\r\n", b"YQ==\r\n", b"Yg==\r\n" + MAIL)
    assert wire.codes == [220, 250, 334, 334, 235, 250]


async def test_who_cannot_log_in_has_to_wait_for_the_answer() -> None:
    settings = {"forbid_unauth_pipelining": True, "auth": ("LOGIN",)}
    script = EHLO, b"AUTH LOGIN\r\n", b"YQ==\r\n", b"Yg==\r\n" + MAIL
    wire = await talk(*script, plugins=(Catcher(),), **settings)
    assert wire.codes == [220, 250, 334, 334, 554]


async def test_what_follows_a_data_that_a_plugin_refuses_is_not_read() -> None:
    refusing = a_plugin_with("refusing", data=always(deny()))
    settings = {"forbid_unauth_pipelining": True}
    for end, code in ((b"", 250), (b"NOOP\r\n", 554)):
        script = EHLO, MAIL + RCPT + b"DATA\r\n" + end, b"NOOP\r\n"
        wire = await talk(*script, plugins=(refusing, Catcher()), **settings)
        assert wire.codes[-2:] == [554, 250] if code == 250 else wire.replies[-1] == CLOSED


async def test_what_follows_starttls_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And refused, whoever the client is, and whatever the settings say."""
    caplog.set_level("INFO")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wire = await talk(EHLO, b"STARTTLS\r\n" + EHLO, tls=context, session=a_relay_client())
    assert wire.replies[-1] == "554 5.5.1 Data after STARTTLS, closing connection"
    assert "refused ip=192.0.2.1 " in caplog.text
    assert wire.tls is None


# --- the greeting -----------------------------------------------------------------------------

GATED = """
import asyncio
from qpsmtpd.api import *


class Gated(Plugin[NoOptions]):
    async def start(self):
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()

    async def hook_connect(self, session):
        self.reached.set()
        await self.gate.wait()
"""


async def greeted_late(
    directory: Path, act: bytes, *plugins: str, **more: list[str]
) -> tuple[list[str], bool]:
    """The replies to a client that says this before it is greeted; whether anything else comes."""
    (directory / "gated.py").write_text(GATED)
    files = catching(directory, *plugins) | {"forbid_unauth_pipelining": ["1"]} | more
    async with serve(files) as serving:
        chain = serving.server.snapshot.chain.plugins
        (gated,) = (each.plugin for each in chain if each.plugin.name == "gated")
        asked = cast("Any", gated)
        client = await Client.connect(serving.host, serving.port)
        await asked.reached.wait()
        client.send(act)
        await until(lambda: bool(wire_of(serving).pending_input))
        asked.gate.set()
        replies = [await client.reply()]
        replies += [await client.reply()] if replies[0].startswith("220") else []
        client.writer.write_eof()
        rest = await client.reader.read()
        await client.close()
        return replies, bool(rest)


@on_both_loops
async def test_who_talks_before_the_greeting(tmp_path: Path) -> None:
    assert await greeted_late(tmp_path, EHLO, "gated") == ([CLOSED], False)


@on_both_loops
async def test_who_may_talk_before_the_greeting(tmp_path: Path) -> None:
    relay = {"relayclients": ["127.0.0.1"]}
    for plugins, more in (
        (("gated",), {"forbid_unauth_pipelining": ["0"]}),
        (("relay", "gated"), relay),
    ):
        replies, _ = await greeted_late(tmp_path, EHLO, *plugins, **more)
        assert [reply[:3] for reply in replies] == ["220", "250"]


@pytest.mark.parametrize("line", ["earlytalker wait 0s", "earlytalker wait 0s reject naughty"])
@on_both_loops
async def test_a_plugin_decides_about_early_talkers(tmp_path: Path, line: str) -> None:
    """Also about those who talk after it has looked: at MAIL."""
    replies, _ = await greeted_late(tmp_path, EHLO, line, "gated")
    assert [reply[:3] for reply in replies] == ["220", "250"]


@on_both_loops
async def test_a_plugin_that_is_tried_decides_nothing(tmp_path: Path) -> None:
    replies, _ = await greeted_late(tmp_path, EHLO, "earlytalker wait 0s mode=shadow", "gated")
    assert replies == [CLOSED]


@on_both_loops
async def test_who_talks_after_the_first_line_of_the_greeting(tmp_path: Path) -> None:
    """At a time when earlytalker has looked already."""
    line = "earlytalker wait 0s teaser"
    replies, _ = await greeted_late(tmp_path, EHLO, line, "gated")
    assert replies[0] == "220-mx.example ESMTP qpsmtpd\n220 mx.example ESMTP qpsmtpd"
    assert replies[1].startswith("250")


SLOW = """
import asyncio
from qpsmtpd.api import *


class Slow(Plugin[NoOptions]):
    async def start(self):
        self.gates = {hook: asyncio.Event() for hook in ("ehlo", "data")}
        self.asked = []

    async def hook_ehlo(self, session, host):
        await self._wait("ehlo")

    async def hook_data(self, tx):
        await self._wait("data")

    async def _wait(self, hook):
        self.asked.append(hook)
        await self.gates[hook].wait()
"""


@pytest.mark.parametrize("late", ["ehlo", "data"])
@on_both_loops
async def test_what_comes_while_the_reply_is_not_given_yet(tmp_path: Path, late: str) -> None:
    """It counts; what comes afterwards does not, although the commands came in one group."""
    (tmp_path / "slow.py").write_text(SLOW)
    files = catching(tmp_path, "slow") | {"forbid_unauth_pipelining": ["1"]}
    async with serve(files) as serving:
        slow: Any = serving.server.snapshot.chain.plugins[0].plugin
        client = await Client.of(serving)
        wire = wire_of(serving)
        for hook, group in (("ehlo", EHLO), ("data", MAIL + RCPT + b"DATA\r\n")):
            client.send(group)
            await until(partial(slow.asked.__contains__, hook))
            if hook == late:
                client.send(b"x\r\n")
                await until(lambda: bool(wire.pending_input))
            slow.gates[hook].set()
            last = [await client.reply() for _ in range(group.count(b"\n"))][-1]
            assert (last == CLOSED) is (hook == late)
            if hook == late:
                break
        assert await client.closed()
        await client.close()
        assert catcher(serving).messages == []
