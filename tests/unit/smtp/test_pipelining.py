# SPDX-License-Identifier: MIT
"""A stranger waits for the replies that RFC 2920 has him wait for; others need not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Session, accept
from qpsmtpd.testing import a_session, serve
from tests.unit.client import Client, catcher, catching, on_both_loops, until, wire_of
from tests.unit.fakewire import ENVELOPE, MESSAGE, Catcher, FakeWire, a_plugin_with, always, talk

EHLO = b"EHLO x\r\n"
MAIL = b"MAIL FROM:<>\r\n"
RCPT = b"RCPT TO:<user@example.test>\r\n"
AUTH = b"AUTH PLAIN AGEAYg==\r\n"
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
        ([EHLO, MAIL + b"DATA\r\nNOOP\r\n" + RCPT], [503, 250, 250]),
        ([EHLO, b"RSET\r\nNOOP\r\n" + MAIL + b"QUIT\r\n"], [221]),
        ([EHLO, b"VRFY x\r\nFLY\r\nQUIT\r\n"], [500, 221]),
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
                await until(lambda: wire.pending_input)
            slow.gates[hook].set()
            last = [await client.reply() for _ in range(group.count(b"\n"))][-1]
            assert (last == CLOSED) is (hook == late)
            if hook == late:
                break
        assert await client.closed()
        await client.close()
        assert catcher(serving).messages == []
