# SPDX-License-Identifier: MIT
"""queue/smtp-forward against next hops that behave, refuse, break off and lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.message import Body, Message
from qpsmtpd.mail.session import ReverseNames, Session, Transaction
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.plugins.queue.smtp_forward import SmtpForward
from qpsmtpd.testing import (
    FakeClock,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    serve,
    services,
)
from tests.unit.client import PATIENCE, Client
from tests.unit.nexthop.fake import DROP, KEYWORDS, SILENT, FakeHop
from tests.unit.nexthop.sasl import Sasl

MESSAGE = b"Subject: x\r\n\r\nHello\r\n.dot\r\n"


@asynccontextmanager
async def forwarder(hop: FakeHop, line: str = "", **lent: Any) -> AsyncIterator[SmtpForward]:
    plugin = await a_plugin(
        SmtpForward, f"127.0.0.1 {hop.port} {line}", name="queue/smtp-forward", **lent
    )
    try:
        yield plugin
    finally:
        await plugin.stop()


def _pool(plugin: SmtpForward) -> Pool:
    """That of the next hop on the line."""
    return next(iter(plugin._hops.values())).pool


def a_mail(*recipients: str, session: Session | None = None, **more: Any) -> Transaction:
    return a_transaction(
        "from@example.com",
        *(recipients or ("to@example.test",)),
        session=session,
        message=more.pop("message", MESSAGE),
        **more,
    )


async def forward(hop: FakeHop, tx: Transaction, line: str = "", **lent: Any) -> Verdict:
    async with hop, forwarder(hop, line, **lent) as plugin:
        return await plugin.hook_queue(tx)


def summary(verdict: Verdict | None) -> tuple[str, int, str]:
    assert verdict is not None
    return verdict.decision.value, verdict.code, verdict.status


# --- success --------------------------------------------------------------------------------


async def test_message_is_taken() -> None:
    hop, tx = FakeHop(), a_mail()
    verdict = await forward(hop, tx)
    assert verdict == Verdict(Decision.ACCEPT, "Queued as 4XyZ", "2.0.0")
    assert tx.next_hop_id == "4XyZ"
    assert hop.messages == [MESSAGE]
    assert hop.commands[:4] == [
        "EHLO mx.example",
        "MAIL FROM:<from@example.com> SIZE=27",
        "RCPT TO:<to@example.test>",
        "DATA",
    ]


async def test_next_hop_without_esmtp() -> None:
    hop = FakeHop(EHLO="500 what?")
    assert (await forward(hop, a_mail("a@x.test", "b@x.test"))).accepted
    assert hop.verbs() == ["EHLO", "HELO", "MAIL", "RCPT", "RCPT", "DATA", "QUIT"]
    assert hop.commands[2] == "MAIL FROM:<from@example.com>"


async def test_envelope_parameters_are_passed_on() -> None:
    tx = a_mail(parameters={"BODY": "8BITMIME", "RET": "HDRS", "ENVID": "a+2B", "SIZE": "9"})
    tx.recipients[0].parameters.update({"NOTIFY": "NEVER", "ORCPT": "rfc822;x@y"})
    hop = FakeHop()
    assert (await forward(hop, tx)).accepted
    assert hop.commands[1] == (
        "MAIL FROM:<from@example.com> SIZE=27 BODY=8BITMIME RET=HDRS ENVID=a+2B"
    )
    assert hop.commands[2] == "RCPT TO:<to@example.test> NOTIFY=NEVER ORCPT=rfc822;x@y"


async def test_wishes_that_the_next_hop_cannot_take_are_dropped() -> None:
    tx = a_mail(parameters={"RET": "HDRS", "ENVID": "x"})
    tx.recipients[0].parameters.update({"NOTIFY": "NEVER", "ORCPT": "utf-8;ü@x"})
    hop = FakeHop(keywords=("SMTPUTF8",))
    async with hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(tx)).accepted
    assert hop.commands[1:3] == ["MAIL FROM:<from@example.com>", "RCPT TO:<to@example.test>"]
    hop = FakeHop(keywords=("DSN",))
    async with hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(tx)).accepted
    assert hop.commands[2] == "RCPT TO:<to@example.test> NOTIFY=NEVER"


@pytest.mark.parametrize(("keywords", "owed"), [(("DSN",), "none"), ((), "relayed")])
async def test_which_notice_is_left_to_us(keywords: tuple[str, ...], owed: str) -> None:
    """None about recipients whom the next hop has refused."""
    hop = FakeHop(keywords=keywords, rcpt={"no@x.test": "550 5.1.1 no"})
    tx = a_mail("yes@x.test", "no@x.test")
    assert (await forward(hop, tx, "mixed=accept-rest")).accepted
    assert [recipient.success for recipient in tx.recipients] == [owed, "none"]


@pytest.mark.parametrize(("keywords", "offered"), [(KEYWORDS, ["DSN"]), ((), [])])
async def test_dsn_is_offered_if_the_next_hop_offers_it(
    keywords: tuple[str, ...], offered: list[str]
) -> None:
    async with FakeHop(keywords=keywords) as hop, forwarder(hop) as plugin:
        session = a_session()
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == []
        assert (await plugin.hook_queue(a_mail())).accepted
        for _ in range(2):
            await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == offered


async def test_the_size_is_that_of_the_next_hop() -> None:
    async with FakeHop(keywords=("SIZE 1000",)) as hop, forwarder(hop) as plugin:
        assert plugin.largest_message() == 0
        assert (await plugin.hook_queue(a_mail())).accepted
        assert plugin.largest_message() == 1000


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE " + "9" * 21])
async def test_no_size_is_no_limit(size: str) -> None:
    async with FakeHop(keywords=(size,)) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert plugin.largest_message() == 0


@pytest.mark.parametrize("keywords", [KEYWORDS, ()])
async def test_pipelining_only_where_offered(keywords: tuple[str, ...]) -> None:
    hop = FakeHop(keywords=keywords)
    assert (await forward(hop, a_mail("a@x.test", "b@x.test"))).accepted
    assert hop.pipelined is bool(keywords)


async def test_eight_bit_header_without_smtputf8_passes_unchanged() -> None:
    message = b"Subject: \xe4\r\n\r\nx\r\n"
    hop = FakeHop(keywords=())
    assert (await forward(hop, a_mail(message=message))).accepted
    assert hop.messages == [message]


async def test_eight_bit_text_passes_unchanged() -> None:
    message = b"Subject: x\r\n\r\n\xe4\xff\r\n"
    hop = FakeHop(keywords=())
    assert (await forward(hop, a_mail(message=message, parameters={"BODY": "8BITMIME"}))).accepted
    assert hop.messages == [message]
    assert hop.commands[1] == "MAIL FROM:<from@example.com>"


async def test_null_reverse_path() -> None:
    hop = FakeHop()
    assert (await forward(hop, a_transaction("", "to@example.test", message=MESSAGE))).accepted
    assert hop.commands[1] == "MAIL FROM:<> SIZE=27"


async def test_many_recipients_are_batched() -> None:
    hop = FakeHop()
    recipients = [f"u{n}@example.test" for n in range(450)]
    assert (await forward(hop, a_mail(*recipients))).accepted
    assert hop.verbs().count("RCPT") == 450


@pytest.mark.parametrize(
    ("text", "word"),
    [("OK id=1abc", "1abc"), ("2.0.0 Ok: queued as \x07\xe4X", "X"), ("2.0.0 saved", ""), ("", "")],
)
async def test_queue_id(text: str, word: str) -> None:
    tx = a_mail()
    verdict = await forward(FakeHop(dot=f"250 {text}"), tx)
    assert tx.next_hop_id == word
    assert verdict.text == (f"Queued as {word}" if word else "Queued")


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", [KEYWORDS, ()])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "dot"])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.7.1 no\x07 \xe4", ("deny", 550, "5.7.1")),
        ("571 no", ("deny", 554, "5.3.0")),
        ("550 4.7.1 contradictory", ("deny", 550, "5.3.0")),
        ("452 4.3.1 full", ("defer", 452, "4.3.1")),
        ("421 4.3.2 closing", ("defer", 451, "4.3.2")),
        ("432 later", ("defer", 451, "4.3.0")),
    ],
)
async def test_refused(
    step: str, reply: str, expected: tuple[str, int, str], keywords: tuple[str, ...]
) -> None:
    answers: dict[str, Any] = {step: reply}
    hop = FakeHop(keywords=keywords, **answers)
    verdict = await forward(hop, a_mail())
    if step == "MAIL" and expected[0] == "deny":
        # Nothing says that this is about the sender.
        expected = ("defer", 451, "4.3.5")
    assert summary(verdict) == expected
    assert verdict.text.isascii()
    assert verdict.text.isprintable()
    assert hop.messages == ([MESSAGE] if step == "dot" else [])


@pytest.mark.parametrize("keywords", [KEYWORDS, ()])
@pytest.mark.parametrize("reply", [DROP, SILENT, "garbage", "250-a\n251 b", "99 x", "300 x"])
@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot", "HELO"])
async def test_breaks_off(step: str, reply: str, keywords: tuple[str, ...]) -> None:
    answers: dict[str, Any] = {step: reply}
    if step == "HELO":
        answers["EHLO"] = "502 no"
    hop = FakeHop(keywords=keywords, **answers)
    verdict = await forward(hop, a_mail(), "timeout=0.05 dot_timeout=0.05")
    assert summary(verdict)[:2] == ("defer", 451)
    assert verdict.status[:2] == "4."


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"])
async def test_endless_reply(step: str) -> None:
    endless = "\n".join(["250-" + "x" * 60] * 1000)
    answers: dict[str, Any] = {step: endless}
    verdict = await forward(FakeHop(**answers), a_mail(), f"timeout={PATIENCE}")
    assert summary(verdict)[:2] == ("defer", 451)


async def test_flood() -> None:
    flood = "\n".join(["250 " + "x" * 60] * 10000)
    assert summary(await forward(FakeHop(MAIL=flood), a_mail()))[:2] == ("defer", 451)


async def test_refuses_to_talk() -> None:
    verdict = await forward(FakeHop(greeting="554 5.7.1 go away"), a_mail())
    assert summary(verdict) == ("defer", 451, "4.3.2")


async def test_nobody_listens() -> None:
    hop = FakeHop()
    async with hop:
        pass
    async with forwarder(hop) as plugin:
        verdict = await plugin.hook_queue(a_mail())
    assert summary(verdict) == ("defer", 451, "4.4.1")


@pytest.mark.parametrize("reply", ["250 Ok", "250 Ok\n250 2.0.0 Ok: queued as FAKE"])
async def test_takes_the_message_before_it_was_sent(reply: str) -> None:
    verdict = await forward(FakeHop(DATA=f"354 go on\n{reply}"), a_mail())
    assert summary(verdict) == ("defer", 451, "4.5.0")
    assert not verdict.tentative


async def test_refuses_in_the_middle_of_the_message() -> None:
    hop = FakeHop(DATA="354 go on\n552 5.3.4 too big")
    verdict = await forward(hop, a_mail("a@x.test", "b@x.test"))
    assert summary(verdict) == ("deny", 552, "5.3.4")


async def test_data_taken_although_the_recipient_was_not() -> None:
    hop = FakeHop(RCPT="550 5.1.1 no")
    assert summary(await forward(hop, a_mail())) == ("deny", 550, "5.1.1")
    assert hop.messages == []
    assert hop.verbs() == ["EHLO", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize(
    ("answers", "recipients", "text"),
    [
        ({}, 1, "Ok: queued as 4XyZ"),
        ({"dot": "550-5.7.1 This is spam,\n550 5.7.1 see\x07 \xe4"}, 1, "This is spam, see? ?"),
        ({"dot": "451 4.3.0 later"}, 2, "later"),
        ({"dot": "554 5.7.1"}, 1, "Refused by the mail system"),
        ({"dot": "554 " + "x" * 900}, 1, "x" * 200),
        ({"RCPT": "550 5.1.1 no"}, 2, "no"),
        ({"RCPT": ["550 5.1.1 <a> no", "550 5.1.1 <b> no"]}, 2, "Refused by the mail system"),
        ({"greeting": "554 go away"}, 1, "Mail system not available, try again later"),
    ],
)
async def test_words_of_the_next_hop(answers: dict[str, Any], recipients: int, text: str) -> None:
    tx = a_mail(*(f"{n}@x.test" for n in range(recipients)))
    verdict = await forward(FakeHop(**answers), tx, "words=yes")
    assert verdict.text == text
    assert tx.next_hop_id in ("", "4XyZ")


# --- whose fault ----------------------------------------------------------------------------

NOT_US = "530 5.7.0 Authentication required"


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"greeting": "554 5.7.1 go away"}, "4.3.2"),
        ({"EHLO": "504 5.5.2 need a name", "HELO": "504 5.5.2 need a name"}, "4.3.2"),
        ({"MAIL": NOT_US}, "4.3.5"),
        ({"RCPT": NOT_US}, "4.3.5"),
        ({"DATA": NOT_US}, "4.3.5"),
        ({"dot": NOT_US}, "4.3.5"),
        ({"RCPT": "554 5.7.1 <to@example.test>: Relay access denied"}, "4.3.5"),
    ],
)
async def test_refuses_us(
    answers: dict[str, Any], status: str, caplog: pytest.LogCaptureFixture
) -> None:
    verdict = await forward(FakeHop(**answers), a_mail())
    assert summary(verdict) == ("defer", 451, status)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert any(repr(answer)[1:-1] in caplog.text for answer in answers.values())
    assert errors


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
async def test_refuses_us_and_another_plugin_may_try(step: str) -> None:
    answers: dict[str, Any] = {step: NOT_US}
    verdict = await forward(FakeHop(**answers), a_mail("a@x.test", "b@x.test"))
    assert verdict.tentative


async def test_refuses_to_relay_for_one_recipient() -> None:
    hop = FakeHop(rcpt={"b@x.test": "554 5.7.1 <b@x.test>: Relay access denied"})
    verdict = await forward(hop, a_mail("a@x.test", "b@x.test"), "mixed=accept-rest")
    assert verdict.decision is Decision.DEFER
    assert hop.messages == []


async def test_with_xclient_the_client_is_refused() -> None:
    hop = FakeHop(
        keywords=("XCLIENT NAME",), RCPT="554 5.7.1 <c.example>: Client host rejected: no"
    )
    assert summary(await forward(hop, a_mail(), "xclient")) == ("deny", 554, "5.7.1")


# --- several recipients ---------------------------------------------------------------------

NO = "550 5.1.1 unknown"
LATER = "450 4.2.0 later"


@pytest.mark.parametrize(
    ("replies", "line", "expected", "sent"),
    [
        ((NO, NO), "", ("deny", 550, "5.1.1"), 0),
        ((LATER, LATER), "", ("defer", 450, "4.2.0"), 0),
        ((NO, LATER), "", ("defer", 451, "4.0.0"), 0),
        ((NO, "450 4.1.1 later"), "", ("defer", 451, "4.1.1"), 0),
        ((NO, "552 5.2.2 full"), "", ("deny", 554, "5.0.0"), 0),
        (("550 no", "550 no"), "", ("deny", 550, "5.3.0"), 0),
        (("", LATER), "", ("defer", 451, "4.0.0"), 0),
        (("", LATER), "mixed=reject", ("defer", 451, "4.0.0"), 0),
        (("", LATER), "mixed=accept-rest", ("defer", 451, "4.0.0"), 0),
        (("", NO), "", ("defer", 451, "4.0.0"), 0),
        (("", NO), "mixed=reject", ("deny", 550, "5.0.0"), 0),
        (("", NO), "mixed=accept-rest", ("accept", 0, "2.0.0"), 1),
        (("", ""), "", ("accept", 0, "2.0.0"), 1),
    ],
)
async def test_recipients(
    replies: tuple[str, str],
    line: str,
    expected: tuple[str, int, str],
    sent: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    recipients = ("a@x.test", "b@x.test")
    answers = {a: r for a, r in zip(recipients, replies, strict=True) if r}
    hop = FakeHop(rcpt=dict(answers))
    assert summary(await forward(hop, a_mail(*recipients), line)) == expected
    assert len(hop.messages) == sent
    assert all(f"to='{address}'" in caplog.text for address in answers)
    assert "RSET" not in hop.verbs()


async def test_rest_refused_after_the_message() -> None:
    hop = FakeHop(rcpt={"b@x.test": NO}, dot="451 4.7.1 later")
    verdict = await forward(hop, a_mail("a@x.test", "b@x.test"), "mixed=accept-rest")
    assert summary(verdict) == ("defer", 451, "4.0.0")


async def test_next_attempt_refuses_who_was_refused() -> None:
    hop = FakeHop(rcpt={"b@x.test": NO})
    async with hop, forwarder(hop, clock=FakeClock()) as plugin:
        first = a_mail("a@x.test", "b@x.test")
        for recipient in first.recipients:
            assert await plugin.hook_verify_recipient(first, recipient) is None
        assert summary(await plugin.hook_queue(first)) == ("defer", 451, "4.0.0")
        again = a_mail("a@x.test")
        assert await plugin.hook_verify_recipient(again, a_recipient("a@x.test")) is None
        verdict = await plugin.hook_verify_recipient(again, a_recipient("b@X.test"))
        assert summary(verdict) == ("deny", 550, "5.1.1")
        assert (await plugin.hook_queue(again)).accepted
        assert hop.messages == [MESSAGE]


@pytest.mark.parametrize(
    ("sender", "hours", "refused"),
    [("from@example.com", 3.9, True), ("from@example.com", 4.1, False), ("else@a.test", 0, False)],
)
async def test_refusals_are_remembered_for_a_time(sender: str, hours: float, refused: bool) -> None:
    clock = FakeClock()
    hop = FakeHop(rcpt={"b@x.test": NO})
    async with hop, forwarder(hop, clock=clock) as plugin:
        await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))
        clock.advance(hours * 3600)
        tx = a_transaction(sender)
        assert (
            await plugin.hook_verify_recipient(tx, a_recipient("b@x.test")) is not None
        ) is refused


async def test_who_was_refused_alone_is_not_remembered() -> None:
    hop = FakeHop(rcpt={"b@x.test": NO})
    async with hop, forwarder(hop) as plugin:
        assert summary(await plugin.hook_queue(a_mail("b@x.test"))) == ("deny", 550, "5.1.1")
        assert await plugin.hook_verify_recipient(a_mail(), a_recipient("b@x.test")) is None


async def test_the_others_get_the_message_with_the_next_attempt() -> None:
    """Wherever the plugin's line is, and though nothing verifies recipients."""
    hop = FakeHop(rcpt={"b@example.test": NO})
    async with hop:
        lines = ["rcpt_ok", f"queue/smtp-forward 127.0.0.1 {hop.port}"]
        async with serve({"plugins": lines}) as daemon:
            client = await Client.of(daemon)
            envelope = ("RSET", "MAIL FROM:<from@example.com>")
            recipients = ("RCPT TO:<a@example.test>", "RCPT TO:<b@example.test>")
            codes = await client.commands("EHLO x.example", *envelope, *recipients, "DATA")
            assert codes[-3:] == [250, 250, 354]
            assert (await client.deliver()).startswith("451 4.0.0 ")
            assert (await client.commands(*envelope, *recipients, "DATA"))[-3:] == [250, 550, 354]
            assert (await client.deliver()).startswith("250 2.0.0 ")
            await client.close()
    assert len(hop.messages) == 1


# --- next hops by domain --------------------------------------------------------------------


@asynccontextmanager
async def routing(hop: FakeHop, other: FakeHop) -> AsyncIterator[SmtpForward]:
    """other.test has another next hop."""
    async with hop, other:
        files = {"smtp_routes": [f"other.test 127.0.0.1 {other.port}"]}
        async with forwarder(hop, "routes=smtp_routes", config=files) as plugin:
            yield plugin


async def test_each_domain_has_its_next_hop() -> None:
    hop, other = FakeHop(), FakeHop()
    async with routing(hop, other) as plugin:
        for address in ("a@x.test", "b@Other.test", "postmaster"):
            assert (await plugin.hook_queue(a_mail(address))).accepted
    assert (len(hop.messages), len(other.messages)) == (2, 1)
    assert hop.verbs().count("RCPT") == 2


async def test_recipients_of_another_next_hop_take_another_transaction() -> None:
    async with routing(FakeHop(), FakeHop()) as plugin:
        tx = a_transaction("from@example.com")
        assert await plugin.hook_verify_recipient(tx, a_recipient("a@other.test")) is None
        tx.recipients.append(a_recipient("a@other.test"))
        assert await plugin.hook_verify_recipient(tx, a_recipient("b@other.test")) is None
        verdict = await plugin.hook_verify_recipient(tx, a_recipient("a@x.test"))
        assert summary(verdict) == ("defer", 452, "4.5.3")


@pytest.mark.parametrize(
    ("address", "answer"), [("a@x.test", "known"), ("a@other.test", "unknown")]
)
async def test_the_right_next_hop_is_asked_about_a_recipient(address: str, answer: str) -> None:
    async with routing(FakeHop(), FakeHop(RCPT=NO)) as plugin:
        assert (await plugin.knows_recipient(a_recipient(address), None)).answer == answer


@pytest.mark.parametrize("later", ["451 4.3.0 later", "550 5.7.1 no"])
async def test_recipients_of_several_next_hops_that_a_plugin_added(later: str) -> None:
    """Nobody gets the message twice, and nobody goes without it."""
    hop, other = FakeHop(), FakeHop(dot=[later, "250 ok"])
    async with routing(hop, other) as plugin:
        verdict = await plugin.hook_queue(a_mail("a@x.test", "b@other.test"))
        assert summary(verdict) == ("defer", 451, "4.0.0")
        assert not verdict.tentative
        assert (await plugin.hook_queue(a_mail("a@x.test", "b@other.test"))).accepted
        assert not plugin._delivered
    assert (len(hop.messages), len(other.messages)) == (1, 2)


async def test_dsn_is_offered_if_all_next_hops_offer_it() -> None:
    async with routing(FakeHop(), FakeHop(keywords=())) as plugin:
        session = a_session()
        for address in ("a@x.test", "a@other.test"):
            assert (await plugin.hook_queue(a_mail(address))).accepted
        await plugin.hook_ehlo(session, "client.example")
        assert "DSN" not in session.capabilities


@pytest.mark.parametrize(("other", "largest"), [("SIZE 900", 1000), ("HELP", 0)])
async def test_the_size_is_the_largest_of_all_next_hops(other: str, largest: int) -> None:
    async with routing(FakeHop(keywords=("SIZE 1000",)), FakeHop(keywords=(other,))) as plugin:
        for address in ("a@x.test", "a@other.test"):
            assert (await plugin.hook_queue(a_mail(address))).accepted
        assert plugin.largest_message() == largest


async def test_wrong_routes() -> None:
    files = {"smtp_routes": ["x.test"]}
    with pytest.raises(ConfigError, match="smtp_routes:1"):
        await a_plugin(SmtpForward, "mx routes=smtp_routes", config=files)
    with pytest.raises(ConfigError, match="other: is not there"):
        await a_plugin(SmtpForward, "mx routes=other", config=files)


# --- SMTPUTF8 -------------------------------------------------------------------------------


async def test_smtputf8_is_passed_on() -> None:
    hop = FakeHop()
    tx = a_mail("ü@example.test", parameters={"SMTPUTF8": None})
    assert (await forward(hop, tx)).accepted
    assert hop.commands[1].endswith(" SMTPUTF8")
    assert hop.commands[2] == "RCPT TO:<ü@example.test>"


@pytest.mark.parametrize(
    ("recipient", "message", "needed"),
    [
        ("ü@example.test", MESSAGE, True),
        ("a@example.test", b"Subject: \xc3\xbc\r\n\r\n", True),
        ("a@example.test", b"Subject: x\r\n\r\n\xc3\xbc\r\n", False),
    ],
)
async def test_next_hop_without_smtputf8(recipient: str, message: bytes, needed: bool) -> None:
    tx = a_mail(recipient, message=message, parameters={"SMTPUTF8": None})
    hop = FakeHop(keywords=("PIPELINING",))
    verdict = await forward(hop, tx)
    assert summary(verdict) == (("deny", 554, "5.6.7") if needed else ("accept", 0, "2.0.0"))
    assert ("MAIL" in hop.verbs()) is not needed


# --- connections ----------------------------------------------------------------------------


async def test_connection_is_used_again() -> None:
    async with FakeHop() as hop, forwarder(hop) as plugin:
        for _ in range(3):
            assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 1
        assert "RSET" not in hop.verbs()
        assert hop.messages == [MESSAGE] * 3


@pytest.mark.parametrize(("line", "connections"), [("", 3), ("messages=1", 25), ("messages=25", 1)])
async def test_messages_per_connection(line: str, connections: int) -> None:
    async with FakeHop() as hop, forwarder(hop, line) as plugin:
        for _ in range(25):
            assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == connections
        assert hop.messages == [MESSAGE] * 25


@pytest.mark.parametrize("step", ["XFORWARD", "MAIL", "RCPT", "DATA", "dot"])
@pytest.mark.parametrize("refusal", ["550 5.1.1 no", "450 4.2.0 later"])
@pytest.mark.parametrize("keywords", [("PIPELINING", "XFORWARD NAME"), ("XFORWARD NAME",)])
async def test_connection_with_a_refusal_is_not_used_again(
    step: str, refusal: str, keywords: tuple[str, ...]
) -> None:
    usual = "354 go on" if step == "DATA" else "250 ok"
    answers: dict[str, Any] = {step: [refusal, usual]}
    async with FakeHop(keywords=keywords, **answers) as hop, forwarder(hop) as plugin:
        await plugin.hook_queue(a_mail())
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_connection_with_one_refused_recipient_is_not_used_again() -> None:
    hop = FakeHop(rcpt={"b@x.test": "550 5.1.1 no"})
    async with hop, forwarder(hop, "mixed=accept-rest") as plugin:
        for _ in range(2):
            assert (await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))).accepted
        assert hop.connections == 2


async def test_refused_recipients_leave_no_trace_for_others() -> None:
    """As many errors as any server allows, but never two on one connection."""
    hop = FakeHop(rcpt={"no@x.test": "550 5.1.1 no"})
    async with hop, forwarder(hop, "check-recipients=yes") as plugin:
        for _ in range(60):
            verdict = await plugin.hook_verify_recipient(a_mail(), a_recipient("no@x.test"))
            assert summary(verdict) == ("deny", 550, "5.1.1")
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 61
        assert "RSET" not in hop.verbs()


async def test_source_address() -> None:
    async with FakeHop() as hop, forwarder(hop, "source=127.0.0.2") as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.peers == ["127.0.0.2"]


async def test_source_address_of_another_machine() -> None:
    async with FakeHop() as hop, forwarder(hop, "source=192.0.2.99") as plugin:
        assert summary(await plugin.hook_queue(a_mail())) == ("defer", 451, "4.4.1")


async def test_log_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    password.chmod(0o600)
    line = f"user=mx password_file={password}"
    keywords = (*KEYWORDS, "AUTH PLAIN SCRAM-SHA-256")
    hop = FakeHop(keywords=keywords, sasl=Sasl("mx", "s3cret"))
    with caplog.at_level("DEBUG"):
        assert (await forward(hop, a_mail(), line)).accepted
        hop = FakeHop(keywords=keywords, sasl=Sasl("mx", "other"))
        verdict = await forward(hop, a_mail(), line)
    assert summary(verdict) == ("defer", 451, "4.7.0")
    assert verdict.tentative
    assert [record.levelname for record in caplog.records if "535" in record.message] == ["ERROR"]
    assert "s3cret" not in caplog.text


async def test_connection_per_message() -> None:
    async with FakeHop() as hop, forwarder(hop, "idle=0") as plugin:
        for _ in range(2):
            assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


TOO_MANY = "421 4.7.0 too many messages"


@pytest.mark.parametrize(
    "later",
    [
        {"MAIL": ["250 ok", DROP, "250 ok"]},
        {"MAIL": ["250 ok", TOO_MANY, "250 ok"]},
        {"MAIL": ["250 ok", "452 4.5.3 too many messages", "250 ok"]},
        {"MAIL": ["250 ok", "550 5.5.3 too many messages", "250 ok"]},
        {"XFORWARD": ["250 ok", TOO_MANY, "250 ok"]},
        {"RCPT": ["250 ok", TOO_MANY, "250 ok"]},
        {"RCPT": ["250 ok", "451 4.7.1 slow down", "250 ok"]},
        {"RCPT": ["250 ok", DROP, "250 ok"]},
        {"DATA": ["354 go on", TOO_MANY, "354 go on"]},
        {"DATA": ["354 go on", "554 5.5.0 too many messages", "354 go on"]},
        {"DATA": ["354 go on", DROP, "354 go on"]},
        {"DATA": ["354 go on", "354 go on\n421 4.3.2 shutting down", "354 go on"]},
    ],
)
@pytest.mark.parametrize(
    "keywords", [("XFORWARD NAME", "PIPELINING"), ("XFORWARD NAME",)], ids=["pipelining", "plain"]
)
async def test_used_connection_is_replaced(
    later: dict[str, Any], keywords: tuple[str, ...]
) -> None:
    async with FakeHop(keywords=keywords, **later) as hop, forwarder(hop) as plugin:
        for _ in range(3):
            assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2
        assert hop.messages == [MESSAGE] * 3


async def test_used_connection_that_is_silent_is_replaced() -> None:
    async with FakeHop(MAIL=["250 ok", SILENT, "250 ok"]) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        ((_, client),) = _pool(plugin)._idle
        client._target = replace(client._target, timeout=0.01)
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_used_connection_is_replaced_for_a_check() -> None:
    hop = FakeHop(RCPT=["250 ok", TOO_MANY, "250 ok"])
    async with hop, forwarder(hop, "check-recipients=yes") as plugin:
        for _ in range(2):
            assert await plugin.hook_verify_recipient(a_mail(), a_recipient()) is None
        assert hop.connections == 2


async def test_refused_recipient_is_asked_about_once() -> None:
    """It is the recipient's fault, not the connection's."""
    hop = FakeHop(rcpt={"no@x.test": "550 5.1.1 no"})
    async with hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert summary(await plugin.hook_queue(a_mail("no@x.test"))) == ("deny", 550, "5.1.1")
        assert hop.connections == 1


@pytest.mark.parametrize("reply", ["421 4.3.2 closing", "452 4.3.1 full", "550 5.7.1 no"])
async def test_reply_to_a_message_on_a_used_connection_counts(reply: str) -> None:
    async with FakeHop(dot=["250 ok", reply, "250 ok"]) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert not (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 1
        assert len(hop.messages) == 2


async def test_connection_closed_while_idle() -> None:
    async with FakeHop(dot="250 ok\n421 4.4.2 idle") as hop, forwarder(hop) as plugin:
        for _ in range(2):
            assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_no_second_attempt_after_the_end_of_the_message() -> None:
    async with FakeHop(dot=["250 ok", DROP, "250 ok"]) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        verdict = await plugin.hook_queue(a_mail())
        assert summary(verdict) == ("defer", 451, "4.4.2")
        assert "not available" in verdict.text
        assert len(hop.messages) == 2
        assert hop.connections == 1


async def test_no_third_attempt() -> None:
    async with FakeHop(MAIL=["250 ok", DROP]) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert summary(await plugin.hook_queue(a_mail()))[:2] == ("defer", 451)
        assert hop.connections == 2


async def test_idle_connection_is_closed() -> None:
    async with FakeHop() as hop, forwarder(hop, "idle=0.02") as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        async with asyncio.timeout(PATIENCE):
            await hop.left.wait()
        assert hop.verbs()[-1] == "QUIT"
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_stop_says_goodbye() -> None:
    async with FakeHop() as hop:
        async with forwarder(hop) as plugin:
            assert (await plugin.hook_queue(a_mail())).accepted
        async with asyncio.timeout(PATIENCE):
            await hop.left.wait()
        assert hop.verbs()[-1] == "QUIT"


async def test_not_more_connections_than_allowed() -> None:
    async with FakeHop(dot_is_late=True) as hop, forwarder(hop, "pool=2") as plugin:
        tasks = [asyncio.create_task(plugin.hook_queue(a_mail())) for _ in range(6)]
        async with asyncio.timeout(PATIENCE):
            while hop.verbs().count("DATA") < 2:
                await asyncio.sleep(0)
        assert hop.connections == 2
        hop.proceed.set()
        assert all(verdict.accepted for verdict in await asyncio.gather(*tasks))
        assert hop.connections == 2


async def test_all_connections_busy() -> None:
    async with FakeHop(dot_is_late=True) as hop, forwarder(hop, "pool=1") as plugin:
        first = asyncio.create_task(plugin.hook_queue(a_mail()))
        async with asyncio.timeout(PATIENCE):
            while "DATA" not in hop.verbs():
                await asyncio.sleep(0)
        # The first one keeps its time-outs.
        _pool(plugin).target = replace(_pool(plugin).target, timeout=0.01)
        assert summary(await plugin.hook_queue(a_mail())) == ("defer", 451, "4.4.5")
        hop.proceed.set()
        assert (await first).accepted


async def test_cancelled_hand_over_breaks_off() -> None:
    async with FakeHop(dot_is_late=True) as hop, forwarder(hop) as plugin:
        task = asyncio.create_task(plugin.hook_queue(a_mail()))
        async with asyncio.timeout(PATIENCE):
            while "DATA" not in hop.verbs():
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hop.proceed.set()
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_cancelled_envelope_breaks_off() -> None:
    async with FakeHop(MAIL=[SILENT, "250 ok"]) as hop, forwarder(hop) as plugin:
        task = asyncio.create_task(plugin.hook_queue(a_mail()))
        async with asyncio.timeout(PATIENCE):
            while "MAIL" not in hop.verbs():
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await plugin.hook_queue(a_mail())).accepted
        assert hop.connections == 2


async def test_next_hop_that_does_not_read() -> None:
    hop = FakeHop(dot_is_late=True)
    big = a_mail(message=b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n" * 8_000_000)
    verdict = await forward(hop, big, "timeout=0.1")
    assert summary(verdict) == ("defer", 451, "4.4.2")


#: Of 64 KB.
BLOCKS = 256


def a_long_mail(blocks: list[int]) -> Transaction:
    """More than fits into the network, in blocks that are noted as they are read."""

    class Noted(Message):
        async def stream(self) -> AsyncIterator[bytes]:
            yield b"Subject: x\r\n\r\n"
            for number in range(BLOCKS):
                blocks.append(number)
                yield (b"y" * 998 + b"\r\n") * 64

    tx = a_mail()
    assert tx.message is not None
    tx.message = Noted(tx.message.headers, Body(b"", None, 0), 1000)
    return tx


async def test_next_hop_that_breaks_off_within_a_message() -> None:
    """Nothing is in doubt, for the end was never sent; and no more is read than was on its way."""
    blocks: list[int] = []
    hop = FakeHop(breaks_off=[3])
    verdict = await forward(hop, a_long_mail(blocks))
    assert verdict.tentative
    assert summary(verdict) == ("defer", 451, "4.4.2")
    assert hop.messages == []
    assert len(blocks) < BLOCKS


async def test_next_hop_that_breaks_off_within_a_message_on_a_kept_connection() -> None:
    async with FakeHop(breaks_off=[0, 3, 0]) as hop, forwarder(hop) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        assert (await plugin.hook_queue(a_long_mail([]))).accepted
        assert hop.connections == 2
        assert len(hop.messages) == 2


# --- XCLIENT and XFORWARD -------------------------------------------------------------------

ATTRIBUTES = "NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN FUTURE"


async def test_xclient() -> None:
    session = a_session("2001:db8::1", helo="client+.example", client_name="pc.example")
    hop = FakeHop(keywords=(*KEYWORDS, f"XCLIENT {ATTRIBUTES}"))
    async with hop, forwarder(hop, "xclient") as plugin:
        for _ in range(2):
            assert (await plugin.hook_queue(a_mail(session=session))).accepted
    assert hop.connections == 2
    assert hop.commands[1:3] == [
        "XCLIENT NAME=pc.example REVERSE_NAME=pc.example ADDR=IPV6:2001:db8::1 PORT=40000 "
        "PROTO=SMTP HELO=client+2B.example LOGIN=[UNAVAILABLE]",
        "EHLO client+.example",
    ]


@pytest.mark.parametrize(
    ("name", "attribute", "hello"),
    [
        ("caf\udce9.example", "caf?.example", "caf?.example"),
        ("bücher.example", "b+C3+BCcher.example", "b?cher.example"),
        ("a\tb\x07\x7f.example", "a+09b+07+7F.example", "a?b??.example"),
        ("a b", "a+20b", "a?b"),
        ("x" * 255, "x" * 255, "x" * 255),
        ("", "[UNAVAILABLE]", "mx.example"),
    ],
)
@pytest.mark.parametrize("command", ["XCLIENT", "XFORWARD"])
async def test_any_name_of_the_client(name: str, attribute: str, hello: str, command: str) -> None:
    session = a_session(ehlo=name)
    hop = FakeHop(keywords=(f"{command} HELO",))
    line = "xclient" if command == "XCLIENT" else ""
    assert (await forward(hop, a_mail(session=session), line)).accepted
    assert hop.commands[1] == f"{command} HELO={attribute}"
    assert hop.commands[2] == (f"EHLO {hello}" if line else "MAIL FROM:<from@example.com>")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("550 5.7.1 bad name", ("deny", 550, "5.7.1")), ("450 4.7.1 later", ("defer", 451, "4.7.1"))],
)
@pytest.mark.parametrize("asked", [False, True])
async def test_the_name_of_the_client_is_refused(
    reply: str, expected: tuple[str, int, str], asked: bool
) -> None:
    welcome = "250-hop.example\n250 XCLIENT HELO"
    hop = FakeHop(EHLO=[welcome, reply], HELO=reply, MAIL="503 5.5.1 HELO first")
    async with hop, forwarder(hop, "xclient check-recipients=yes") as plugin:
        if asked:
            verdict = await plugin.hook_verify_recipient(a_mail(), a_recipient())
            assert summary(verdict)[0] == expected[0]
        else:
            assert summary(await plugin.hook_queue(a_mail())) == expected


@pytest.mark.parametrize(
    ("names", "name", "reverse_name"),
    [
        (ReverseNames("pc.example", "an.example"), "pc.example", "an.example"),
        (ReverseNames(None, "an.example"), "[UNAVAILABLE]", "an.example"),
        (ReverseNames(None, "an.example", certain=False), "[TEMPUNAVAIL]", "an.example"),
        (ReverseNames(), "[UNAVAILABLE]", "[UNAVAILABLE]"),
    ],
)
async def test_xclient_name_is_confirmed(names: ReverseNames, name: str, reverse_name: str) -> None:
    async def reverse_lookup() -> ReverseNames:
        return names

    session = Session(Endpoint("192.0.2.1"), Endpoint("192.0.2.2"), reverse_lookup=reverse_lookup)
    hop = FakeHop(keywords=("XCLIENT NAME REVERSE_NAME",))
    assert (await forward(hop, a_mail(session=session), "xclient")).accepted
    assert hop.commands[1] == f"XCLIENT NAME={name} REVERSE_NAME={reverse_name}"


async def test_xclient_long_values_take_several_commands() -> None:
    session = a_session(ehlo="c" * 240, client_name="n" * 240)
    hop = FakeHop(keywords=(f"XCLIENT {ATTRIBUTES}",))
    assert (await forward(hop, a_mail(session=session), "xclient")).accepted
    assert hop.verbs()[1:3] == ["XCLIENT", "XCLIENT"]
    assert all(len(command) <= 500 for command in hop.commands)


@pytest.mark.parametrize(
    "more", [{}, {"XCLIENT": "550 5.7.0 not you", "keywords": ("XCLIENT NAME",)}]
)
async def test_xclient_not_possible(more: dict[str, Any]) -> None:
    verdict = await forward(FakeHop(**more), a_mail(), "xclient")
    assert summary(verdict) == ("defer", 451, "4.7.0")


async def test_xforward() -> None:
    session = a_session(ehlo="client example", client_name="pc.example")
    await session.resolve_client_name()
    hop = FakeHop(keywords=("XFORWARD NAME ADDR HELO PROTO SOURCE IDENT PORT",))
    tx = a_mail(session=session)
    assert (await forward(hop, tx)).accepted
    assert hop.commands[1] == (
        "XFORWARD NAME=pc.example ADDR=192.0.2.1 HELO=client+20example PROTO=ESMTP "
        f"SOURCE=REMOTE IDENT={tx.id} PORT=40000"
    )


async def test_xforward_may_be_refused_or_switched_off() -> None:
    keywords = (*KEYWORDS, "XFORWARD NAME")
    assert (await forward(FakeHop(keywords=keywords, XFORWARD="550 no"), a_mail())).accepted
    hop = FakeHop(keywords=keywords)
    assert (await forward(hop, a_mail(), "xforward=no")).accepted
    assert "XFORWARD" not in hop.verbs()


# --- check-recipients -----------------------------------------------------------------------


async def test_recipients_are_not_checked_by_default() -> None:
    async with FakeHop(RCPT="550 no") as hop, forwarder(hop) as plugin:
        assert await plugin.hook_verify_recipient(a_mail(), a_recipient()) is None
        assert hop.connections == 0


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, None),
        ({"RCPT": NO}, ("deny", 550, "5.1.1")),
        ({"RCPT": LATER}, ("defer", 450, "4.2.0")),
        ({"MAIL": "550 5.7.1 not from you"}, ("defer", 451, "4.3.5")),
        ({"MAIL": "550 5.1.8 no such domain"}, ("deny", 550, "5.1.8")),
        ({"RCPT": DROP}, ("defer", 451, "4.4.2")),
    ],
)
async def test_check_recipients(
    answers: dict[str, Any], expected: tuple[str, int, str] | None
) -> None:
    async with FakeHop(**answers) as hop, forwarder(hop, "check-recipients=yes") as plugin:
        verdict = await plugin.hook_verify_recipient(a_transaction(), a_recipient("u@example.test"))
        assert (None if verdict is None else summary(verdict)) == expected
        assert "DATA" not in hop.verbs()


async def test_questions_have_a_connection_of_their_own() -> None:
    async with FakeHop() as hop, forwarder(hop, "check-recipients=yes") as plugin:
        tx = a_mail("a@x.test", "b@x.test")
        for recipient in tx.recipients:
            assert await plugin.hook_verify_recipient(tx, recipient) is None
        assert hop.connections == 1
        assert hop.verbs() == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT"]
        assert (await plugin.hook_queue(tx)).accepted
        assert hop.connections == 2
        assert hop.messages == [MESSAGE]


@pytest.mark.parametrize("answer", [DROP, TOO_MANY, "500 what?"])
async def test_connection_without_reset_is_replaced(answer: str) -> None:
    async with FakeHop(RSET=answer) as hop, forwarder(hop, "check-recipients=yes") as plugin:
        for _ in range(2):
            assert await plugin.hook_verify_recipient(a_mail(), a_recipient()) is None
        assert hop.connections == 2


async def test_xclient_introduces_the_client_before_each_question() -> None:
    keywords = (*KEYWORDS, "XCLIENT ADDR")
    line = "xclient check-recipients=yes"
    async with FakeHop(keywords=keywords) as hop, forwarder(hop, line) as plugin:
        tx = a_mail("a@x.test", "b@x.test")
        for recipient in tx.recipients:
            assert await plugin.hook_verify_recipient(tx, recipient) is None
        assert hop.connections == 2
        assert hop.verbs().count("XCLIENT") == 2


async def test_the_next_hop_is_asked_who_it_knows() -> None:
    answers = {"u@example.test": NO, "v@example.test": LATER}
    async with FakeHop(rcpt=answers) as hop, forwarder(hop) as plugin:
        asked = [
            (await plugin.knows_recipient(a_recipient(f"{user}@example.test"), None)).answer
            for user in "uvw"
        ]
        assert asked == ["unknown", "unsure", "known"]
        assert "MAIL FROM:<>" in hop.commands


async def test_check_recipients_without_smtputf8() -> None:
    tx = a_transaction(parameters={"SMTPUTF8": None})
    async with FakeHop(keywords=()) as hop, forwarder(hop, "check-recipients=yes") as plugin:
        verdict = await plugin.hook_verify_recipient(tx, a_recipient("ü@example.test"))
        assert summary(verdict) == ("deny", 554, "5.6.7")


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a b c",
        "mx/../x",
        "mx:25",
        "mx 0",
        "mx 65536",
        "mx smtp",
        "a,,b",
        "a,b/c",
        "mx tls=maybe",
        "mx ca=/etc/hosts",
        "mx tls=verify ca=/nonexistent",
        "mx implicit_tls=yes",
        "mx tls=may implicit_tls=yes",
        "mx tls=require tls_name=a.example",
        "mx tls=require fingerprint=" + "0" * 64,
        "mx tls=verify fingerprint=" + "0" * 63,
        "mx tls=verify tls_name=a.example fingerprint=" + "0" * 64,
        "mx user=u",
        "mx password_file=/etc/hosts",
        "mx user=u password_file=/nonexistent",
        "mx user=u password_file=/etc/hosts",
        "mx source=me",
        "mx pool=0",
        "mx timeout=0",
        "mx mixed=some",
    ],
)
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(SmtpForward, line)


@pytest.mark.parametrize(
    ("line", "target", "xclient"),
    [
        ("mail.example", "mail.example:25", False),
        ("192.0.2.1 2525", "192.0.2.1:2525", False),
        ("127.0.0.1 26 xclient", "127.0.0.1:26", True),
        ("127.0.0.1 xclient", "127.0.0.1:25", True),
        ("::1 26", "[::1]:26", False),
        ("[::1] 26", "[::1]:26", False),
        ("host mail.example port 27", "mail.example:27", False),
        ("a.example,[::1],192.0.2.1 26", "a.example:26,[::1]:26,192.0.2.1:26", False),
    ],
)
async def test_arguments(line: str, target: str, xclient: bool) -> None:
    plugin = await a_plugin(SmtpForward, line, services=services())
    assert str(_pool(plugin)) == target
    assert plugin.options.xclient is xclient
