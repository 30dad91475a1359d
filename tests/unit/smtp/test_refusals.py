# SPDX-License-Identifier: MIT
"""A refused command changes nothing: every state of a session × every way to be refused."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, NamedTuple

import pytest

from qpsmtpd.api import (
    AuthAttempt,
    NoOptions,
    Plugin,
    Recipient,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    accept,
    deny,
)
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.conversation import execute
from qpsmtpd.testing import services
from tests.unit.fakewire import FakeWire, a_connection

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
RIGHT = "AGdvb2QAcGFzcw=="  # good, pass
WRONG = "AGJhZABwYXNz"  # bad, pass


class Picky(Plugin[NoOptions]):
    """Refuses whatever has "bad" in it, in every hook, and RSET when told to."""

    def __init__(self) -> None:
        super().__init__("picky", NoOptions(), services())
        self.refuses_rset = False
        self.ended: list[Transaction] = []
        self.gate: asyncio.Event | None = None

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        session.capabilities.append("XSEEN")
        assert session.transaction is None
        return deny() if "bad" in host else None

    hook_ehlo = hook_helo

    async def hook_helo_parse(self, _session: Session, argument: str) -> Verdict | None:
        return deny() if "bad grammar" in argument else None

    hook_ehlo_parse: Any = hook_helo_parse
    hook_mail_parse: Any = hook_helo_parse
    hook_rcpt_parse: Any = hook_helo_parse
    hook_auth_parse: Any = hook_helo_parse

    async def hook_mail_pre(
        self, _session: Session, path: str, _parameters: dict[str, str | None]
    ) -> Any:
        return deny() if "badpath" in path else None

    hook_rcpt_pre: Any = hook_mail_pre

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if self.gate is not None:
            await self.gate.wait()
        return deny() if "bad" in str(sender) else None

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return deny() if "bad" in str(recipient) else accept()

    async def hook_auth(self, _session: Session, attempt: AuthAttempt) -> Verdict | None:
        return deny() if "bad" in attempt.user else accept()

    async def hook_noop(self, _session: Session, argument: str) -> Verdict | None:
        return deny() if "bad" in argument else None

    hook_vrfy: Any = hook_noop
    hook_help: Any = hook_noop

    async def hook_rset(self, session: Session) -> Verdict | None:
        assert session.transaction is None
        return deny() if self.refuses_rset else None

    async def hook_reset_transaction(self, tx: Transaction) -> None:
        self.ended.append(tx)


class State(NamedTuple):
    """What the client has reached, as far as a command could change it."""

    hello: str | None
    hello_host: str
    capabilities: list[str]
    tls: object
    auth_user: str
    auth_mechanism: str
    relay_client: bool
    transaction: Transaction | None
    sender: str
    recipients: list[str]
    ended: list[Transaction]


EHLO = "EHLO client.example"
MAIL = "MAIL FROM:<first@client.example> SIZE=10"
RCPT = "RCPT TO:<user@example.test>"

STATES = {
    "new": (),
    "HELO": ("HELO client.example",),
    "EHLO": (EHLO,),
    "TLS": (EHLO, "STARTTLS"),
    "EHLO under TLS": (EHLO, "STARTTLS", EHLO),
    "logged in": (EHLO, f"AUTH PLAIN {RIGHT}"),
    "MAIL": (EHLO, MAIL),
    "MAIL after HELO": ("HELO client.example", MAIL),
    "RCPT": (EHLO, MAIL, RCPT),
    "RCPT under TLS": (EHLO, "STARTTLS", EHLO, MAIL, RCPT),
    "RCPT, logged in": (EHLO, f"AUTH PLAIN {RIGHT}", MAIL, RCPT),
    "RCPT refused": (EHLO, MAIL, "RCPT TO:<bad@example.test>"),
}

REFUSED = (
    *("HELO", "HELO bad.example", "HELO bad grammar", "HELO " + "x" * 256),
    *("EHLO", "EHLO bad.example", "EHLO bad grammar", "EHLO " + "x" * 256),
    *("MAIL", "MAIL FROM:x", "MAIL FROM:<bad@x.example>", "MAIL FROM:<badpath@x.example>"),
    *("MAIL FROM:<a@b.example> X=Y", "MAIL FROM:<a@b.example> SIZE=99999", "MAIL bad grammar"),
    *("MAIL FROM:<ü@b.example>", "MAIL FROM:<a@b.example> AUTH"),
    *("RCPT", "RCPT TO:x", "RCPT TO:<bad@example.test>", "RCPT TO:<badpath@x.example>"),
    *("RCPT TO:<a@b.example> X=Y", "RCPT bad grammar", "RCPT TO:<ü@b.example>"),
    *("DATA now", "RSET now", "VRFY", "VRFY bad", "NOOP bad", "HELP bad"),
    *("STARTTLS now", "AUTH", "AUTH GSSAPI", "AUTH PLAIN !!!", "AUTH PLAIN x y z"),
    *("AUTH bad grammar", f"AUTH PLAIN {WRONG}", "AUTH LOGIN", "AUTH CRAM-MD5 x"),
    *("XYZ", "", "NOOP \0", "NOOP \r"),
)


def a_picky_connection(plugin: Picky) -> Connection:
    # "AUTH LOGIN" gets its answer from here, where there is one.
    wire = AnsweringWire()
    mechanisms = ("PLAIN", "LOGIN", "CRAM-MD5")
    return a_connection(
        wire, plugin, tls=CONTEXT, auth=mechanisms, databytes=1000, tls_before_auth=False
    )


class AnsweringWire(FakeWire):
    """Cancels every exchange of AUTH."""

    async def read_line(self, limit: int, *, answer: bool = False) -> bytes:
        return b"*"


async def reach(connection: Connection, *lines: str) -> None:
    for line in lines:
        reply = await execute(connection, line.encode())
        assert reply is None or reply.positive or "bad" in line


def state_of(session: Session, plugin: Picky) -> State:
    tx = session.transaction
    return State(
        session.hello,
        session.hello_host,
        list(session.capabilities),
        session.tls,
        session.auth_user,
        session.auth_mechanism,
        session.relay_client,
        tx,
        tx.sender if tx else "",
        [str(recipient) for recipient in tx.recipients] if tx else [],
        [ended for ended in plugin.ended if ended is tx],
    )


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("state", STATES)
async def test_a_refused_command_changes_nothing(state: str, refused: str) -> None:
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES[state])
    before = state_of(connection.session, plugin)
    reply = await execute(connection, refused.encode())
    assert reply is not None
    assert reply.code >= 500
    assert state_of(connection.session, plugin) == before


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (("new", "TLS"), "MAIL FROM:<a@b.example>"),
        (("new", "HELO", "EHLO", "TLS", "EHLO under TLS", "logged in"), RCPT),
        (("new", "HELO", "EHLO", "TLS", "MAIL", "MAIL after HELO", "RCPT refused"), "DATA"),
        (("TLS", "EHLO under TLS", "RCPT under TLS", "logged in", "RCPT, logged in"), "STARTTLS"),
        (("new", "HELO", "TLS", "MAIL", "RCPT", "logged in"), f"AUTH PLAIN {RIGHT}"),
        (("MAIL after HELO", "RCPT under TLS", "RCPT, logged in"), f"AUTH PLAIN {RIGHT}"),
    ],
)
async def test_what_comes_out_of_order_changes_nothing(states: tuple[str, ...], line: str) -> None:
    for state in states:
        plugin = Picky()
        connection = a_picky_connection(plugin)
        await reach(connection, *STATES[state])
        before = state_of(connection.session, plugin)
        reply = await execute(connection, line.encode())
        assert reply is not None
        assert reply.code in (500, 503)
        assert state_of(connection.session, plugin) == before


@pytest.mark.parametrize("state", STATES)
async def test_an_rset_that_a_plugin_refuses_changes_nothing(state: str) -> None:
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES[state])
    plugin.refuses_rset = True
    before = state_of(connection.session, plugin)
    reply = await execute(connection, b"RSET")
    assert reply is not None
    assert reply.code == 500
    assert state_of(connection.session, plugin) == before


@pytest.mark.parametrize("line", ["HELO other.example", EHLO, "RSET", "MAIL FROM:<b@x.example>"])
async def test_what_is_accepted_ends_the_transaction(line: str) -> None:
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES["RCPT"])
    first = connection.session.transaction
    await reach(connection, line)
    assert plugin.ended == [first]
    assert connection.session.transaction is not first
    second = connection.session.transaction
    assert (second.sender if second else "") == ("b@x.example" if "MAIL" in line else "")


async def test_a_refused_mail_ends_its_own_transaction_only() -> None:
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES["RCPT"])
    first = connection.session.transaction
    await execute(connection, b"MAIL FROM:<bad@x.example>")
    (ended,) = plugin.ended
    assert ended.sender == "bad@x.example"
    await execute(connection, b"RSET")
    assert plugin.ended == [ended, first]


async def test_both_transactions_end_when_a_second_mail_is_cut_off() -> None:
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES["RCPT"])
    first = connection.session.transaction
    plugin.gate = asyncio.Event()
    task = asyncio.ensure_future(execute(connection, b"MAIL FROM:<second@x.example>"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [tx.sender for tx in plugin.ended] == ["second@x.example"]
    assert connection.session.transaction is first


@pytest.mark.parametrize("kind", ["helo", "ehlo"])
async def test_what_is_said_of_a_hello_belongs_to_the_session(kind: str) -> None:
    """Else it would be gone with the transaction that the command ends."""
    plugin = Picky()
    connection = a_picky_connection(plugin)
    await reach(connection, *STATES["RCPT"])
    tx: Any = connection.session.transaction
    await execute(connection, f"{kind} bad.example".encode())
    assert [answer.hook for answer in connection.session.trail] == [kind]
    assert [answer.hook for answer in tx.trail] == ["rcpt"]
