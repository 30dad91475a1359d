# SPDX-License-Identifier: MIT
"""What an answer of a handler means, above all where it is not what aiosmtpd asks for."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.api import AuthExchange, Decision, Verdict, deny, unless_another
from qpsmtpd.handlers import decisions
from qpsmtpd.handlers.decisions import CLOSING
from qpsmtpd.handlers.facts import EnvelopeView, view_of
from qpsmtpd.handlers.handlerserver import HandlerAnswer
from qpsmtpd.handlers.statuses import HandlerError
from qpsmtpd.testing import a_recipient, a_session, a_transaction

YES = Verdict(Decision.ACCEPT, "Yes", code=250)


def an_answer(*said: object, **changes: Any) -> HandlerAnswer:
    values: dict[str, Any] = {
        "host_name": "client.example",
        "mail_from": "sender@example.com",
        "mail_options": (),
        "rcpt_tos": (),
        "authenticated": False,
        "user": "unknown",
        "closes": False,
    }
    return HandlerAnswer(said=said or None, **(values | changes))


def shown(tx: Any) -> EnvelopeView:
    envelope = view_of(tx.session).envelope
    assert envelope is not None
    return envelope


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (an_answer(), None),
        (an_answer("250 Yes"), YES),
        (an_answer("550 5.1.1 No"), deny("No", status="5.1.1", code=550)),
        (an_answer(closes=True), CLOSING),
        (an_answer("250 Yes", closes=True), CLOSING),
        (an_answer("550 No", closes=True), deny("No", code=550, disconnect=True)),
    ],
)
def test_a_decision(answer: HandlerAnswer, verdict: Verdict | None) -> None:
    assert decisions.decide("handle_NOOP", answer) == verdict


def test_a_message_that_was_delivered_stays_delivered() -> None:
    assert decisions.decide("handle_DATA", an_answer("250 Yes", closes=True)) == YES


@pytest.mark.parametrize("said", [None, "OK", "354 Go", "250 a\r\n250 b"])
def test_nonsense_names_its_hook(said: Any) -> None:
    with pytest.raises(HandlerError, match=r"^handle_RCPT said "):
        decisions.decide("handle_RCPT", an_answer(said))


@pytest.mark.parametrize(
    ("name", "hello", "host"),
    [
        ("client.example", "ehlo", "client.example"),
        ("other.example", "ehlo", "other.example"),
        (None, None, ""),
        ("", None, ""),
    ],
)
def test_who_the_client_is(name: Any, hello: str | None, host: str) -> None:
    session = a_session(ehlo="client.example")
    decisions.after_hello(session, an_answer("250 Yes", host_name=name))
    assert (session.hello, session.hello_host) == (hello, host)


@pytest.mark.parametrize("name", [1, b"x", "a b", "x\r\ny", "x" * 256, "ü"])
def test_who_nobody_is(name: Any) -> None:
    session = a_session(ehlo="client.example")
    with pytest.raises(HandlerError, match=r"in session\.host_name, which is not a host name"):
        decisions.after_hello(session, an_answer("250 Yes", host_name=name))
    assert session.hello_host == "client.example"


def test_keywords() -> None:
    session = a_session()
    session.capabilities = ["PIPELINING"]
    verdict = Verdict(Decision.ACCEPT, "mx.example\nXNEW 1\nHELP")
    decisions.after_ehlo(session, verdict, replaces=True)
    assert session.capabilities == ["XNEW 1"]
    decisions.after_ehlo(session, Verdict(Decision.ACCEPT, "XOLD\nhelp"), replaces=False)
    assert session.capabilities == ["XNEW 1", "XOLD"]


def test_mail() -> None:
    tx = a_transaction()
    answer = an_answer("250 Yes", mail_from="other@example.org", mail_options=("SMTPUTF8",))
    verdict = decisions.after_mail(tx, shown(tx), YES, answer)
    assert verdict == unless_another(YES)
    assert (tx.sender, tx.utf8) == ("other@example.org", True)


@pytest.mark.parametrize("mail_from", [None, ""])
def test_mail_without_a_sender(mail_from: Any) -> None:
    tx = a_transaction()
    with pytest.raises(HandlerError, match=r"handle_MAIL said 2xx but did not set"):
        decisions.after_mail(tx, shown(tx), YES, an_answer("250 Yes", mail_from=mail_from))


@pytest.mark.parametrize(
    ("left", "several", "recipient", "others"),
    [
        (["a@b.test", "new@x.test"], False, "new@x.test", ["a@b.test"]),
        (["a@b.test", "else@x.test"], False, "else@x.test", ["a@b.test"]),
        (["else@x.test"], False, "else@x.test", []),
        (["a@b.test", "1@x.test", "2@x.test"], True, "1@x.test", ["a@b.test", "2@x.test"]),
    ],
)
def test_rcpt(left: list[str], several: bool, recipient: str, others: list[str]) -> None:
    tx = a_transaction("", "a@b.test")
    new = a_recipient("new@x.test")
    answer = an_answer("250 Yes", rcpt_tos=tuple(left))
    decisions.after_rcpt(tx, new, shown(tx), answer, several=several)
    assert str(new) == recipient
    assert list(map(str, tx.recipients)) == others


@pytest.mark.parametrize(
    ("left", "problem"),
    [
        ([], "appended nothing"),
        (["a@b.test"], "appended nothing"),
        (["a@b.test", "1@x.test", "2@x.test"], "this needs accept_recipients"),
        (["a@b.test", None], "left None in envelope.rcpt_tos"),
    ],
)
def test_rcpt_that_takes_nobody(left: list[Any], problem: str) -> None:
    tx = a_transaction("", "a@b.test")
    answer = an_answer("250 Yes", rcpt_tos=tuple(left))
    with pytest.raises(HandlerError, match=problem):
        decisions.after_rcpt(tx, a_recipient(), shown(tx), answer, several=False)
    assert list(map(str, tx.recipients)) == ["a@b.test"]


async def test_a_filter() -> None:
    tx = a_transaction("", "a@b.test", "c@d.test", message="Old: one\n\n")
    answer = an_answer("250 Yes", rcpt_tos=("c@d.test",), content=b"New: one\n\nbody\n")
    await decisions.after_filter(tx, shown(tx), answer)
    assert tx.message is not None
    assert await tx.message.read(100) == b"New: one\r\n\r\nbody\r\n"
    assert (tx.sender, list(map(str, tx.recipients))) == ("sender@example.com", ["c@d.test"])


async def test_a_filter_that_leaves_nobody() -> None:
    tx = a_transaction("", "a@b.test", message="Old: one\n\n")
    with pytest.raises(HandlerError, match="left nobody"):
        await decisions.after_filter(tx, shown(tx), an_answer("250 Yes"))


@pytest.mark.parametrize(
    ("said", "authenticated", "accepted"),
    [
        (("235 Welcome",), True, True),
        (("535 No",), False, False),
        (("535 No",), True, False),
        ((), True, False),
        ((), False, False),
    ],
)
def test_a_log_in(said: tuple[str, ...], authenticated: bool, accepted: bool) -> None:
    exchange = AuthExchange("PLAIN")
    answer = an_answer(*said, authenticated=authenticated, user="joe")
    assert decisions.after_auth(exchange, answer).accepted is accepted
    assert exchange.user == "joe" or not accepted


def test_a_log_in_by_words_alone() -> None:
    with pytest.raises(HandlerError, match="AUTH said 2xx, but"):
        decisions.after_auth(AuthExchange("PLAIN"), an_answer("235 Welcome"))
