# SPDX-License-Identifier: MIT
"""Connection: replies, hooks and the end of a transaction, as the commands use them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from qpsmtpd.api import Transaction, accept, defer, deny
from qpsmtpd.mail.trail import Answer
from qpsmtpd.smtp.reply import Reply
from qpsmtpd.testing import a_transaction
from tests.unit.fakewire import Catcher, FakeWire, a_connection, a_plugin_with, always, fails


async def test_say_counts_permanent_errors_and_closes() -> None:
    wire = FakeWire()
    connection = a_connection(wire)
    for code, disconnect in ((250, False), (354, False), (450, False), (550, True)):
        connection.say(Reply(code, "", "text", disconnect=disconnect))
    assert connection.counters.errors == 1
    assert connection.closing
    await wire.flush()
    assert wire.writes == [b"250 text\r\n354 text\r\n450 text\r\n550 text\r\n"]


async def test_run_asks_only_who_has_the_hook() -> None:
    connection = a_connection(FakeWire(), a_plugin_with("first", noop=always(accept("yes"))))
    assert await connection.run("mail") is None
    answer = await connection.run("noop", connection.session)
    assert answer is not None
    assert (answer.plugin, answer.hook, answer.verdict) == ("first", "noop", accept("yes"))


@pytest.mark.parametrize("answer", [None, Answer("x", "mail", accept("fine"))])
async def test_no_refusal(answer: Answer | None) -> None:
    assert a_connection(FakeWire()).refusal(answer) is None


async def test_a_refusal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    connection = a_connection(FakeWire())
    connection.session.hello_host = "evil\nhost"
    with caplog.at_level(logging.INFO, "qpsmtpd"):
        reply = connection.refusal(Answer("dnsbl", "mail", deny("No")), "a\x1b@b")
    assert reply == Reply(550, "5.7.1", "No")
    (record,) = caplog.records
    assert record.message == (
        r"refused ip=192.0.2.1 helo='evil\nhost' about='a\x1b@b' reply=550 5.7.1 No"
    )
    assert (record.hook, record.plugin) == ("mail", "dnsbl")  # type: ignore[attr-defined]


async def test_a_refusal_may_close() -> None:
    connection = a_connection(FakeWire())
    reply = connection.refusal(Answer("x", "rcpt", defer("Go away", disconnect=True)))
    assert reply == Reply(421, "4.7.1", "Go away", disconnect=True)


async def test_a_refusal_of_the_core_is_in_the_trail_once() -> None:
    connection = a_connection(FakeWire())
    reply = connection.refuse("mail", Reply(501, "5.1.7", "Bad sender"))
    assert connection.refuse("command", reply) == reply == Reply(501, "5.1.7", "Bad sender")
    (answer,) = connection.session.trail
    assert (answer.plugin, answer.hook, answer.verdict) == (
        "core",
        "mail",
        deny("Bad sender", status="5.1.7", code=501),
    )
    assert len(connection.session.trail) == 1


async def test_the_tasks_of_a_transaction_end_with_it() -> None:
    connection = a_connection(FakeWire())
    tx = a_transaction(session=connection.session)
    task = tx.begin(asyncio.Event().wait())
    await asyncio.sleep(0)
    await connection.reset_transaction()
    assert task.cancelled()


async def test_reset_transaction() -> None:
    catcher = Catcher()
    connection = a_connection(FakeWire(), a_plugin_with(reset_transaction=fails), catcher)
    await connection.reset_transaction()
    assert catcher.resets == 0
    tx: Transaction = a_transaction(session=connection.session, message="Subject: x\n\nbody\n")
    message = tx.message
    assert message is not None
    await connection.reset_transaction()
    assert catcher.resets == 1
    assert connection.session.transaction is None
    assert tx.message is None
    assert message.body.in_memory == b""
