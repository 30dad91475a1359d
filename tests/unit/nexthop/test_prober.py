# SPDX-License-Identifier: MIT
"""Prober: what questions it asks, on which connections, and what it makes of the replies."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from qpsmtpd.mail.address import Address, parse_forward_path, parse_mailbox
from qpsmtpd.nexthop import prober as module
from qpsmtpd.nexthop.hopreply import HopReply
from qpsmtpd.nexthop.prober import Prober, meaning
from qpsmtpd.nexthop.target import Target
from tests.ports import refusing_port
from tests.unit.nexthop.fake import DROP, FakeHop

USER = parse_forward_path("<u@example.test>")


@asynccontextmanager
async def asking(hop: FakeHop, **target: Any) -> AsyncIterator[Prober]:
    async with hop:
        prober = Prober(Target(host="127.0.0.1", port=hop.port, hello="mx.example", **target))
        yield prober
        await prober.close()


async def verify(hop: FakeHop, address: Address = USER, **target: Any) -> str:
    async with asking(hop, **target) as prober:
        return (await prober.verify(address)).answer


@pytest.mark.parametrize(
    ("rcpt", "answer", "peers"),
    [
        ("250 ok", "known", ["127.0.0.2"]),
        ("550 5.1.1 no such user", "unknown", ["127.0.0.2"]),
        ("550 relay not permitted", "unsure", ["127.0.0.2", "127.0.0.1"]),
        (DROP, "unavailable", ["127.0.0.2", "127.0.0.1"]),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_asks_as_a_stranger_first(
    host: str, rcpt: str, answer: str, peers: list[str]
) -> None:
    async with FakeHop(RCPT=rcpt) as hop:
        target = Target(host=host, port=hop.port, hello="mx.example")
        prober = Prober(target, as_stranger=True)
        assert (await prober.verify(USER)).answer == answer
        await prober.close()
    assert hop.peers == peers


async def test_a_source_that_was_chosen_stays() -> None:
    async with FakeHop() as hop:
        target = Target(host="127.0.0.1", port=hop.port, hello="mx.example", source="127.0.0.3")
        prober = Prober(target, as_stranger=True)
        assert (await prober.verify(USER)).answer == "known"
        await prober.close()
    assert hop.peers == ["127.0.0.3"]


# --- the question ---------------------------------------------------------------------------


async def test_the_question() -> None:
    hop = FakeHop()
    assert await verify(hop) == "known"
    assert hop.commands[:3] == ["EHLO mx.example", "MAIL FROM:<>", "RCPT TO:<u@example.test>"]
    assert "DATA" not in hop.verbs()


async def test_another_sender() -> None:
    async with asking(FakeHop(MAIL=["250 ok"])) as prober:
        assert (await prober.verify(USER, parse_mailbox("p@mx.example"))).answer == "known"


@pytest.mark.parametrize(
    ("keywords", "answer", "commands"),
    [
        (("SMTPUTF8",), "known", ["MAIL FROM:<> SMTPUTF8", "RCPT TO:<ü@example.test>"]),
        ((), "unsure", []),
    ],
)
async def test_utf8(keywords: tuple[str, ...], answer: str, commands: list[str]) -> None:
    hop = FakeHop(keywords=keywords)
    assert await verify(hop, parse_forward_path("<ü@example.test>", utf8=True)) == answer
    assert [c for c in hop.commands if c.startswith(("MAIL", "RCPT"))] == commands


@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": "554 5.7.1 not you"},
        {"greeting": DROP},
        {"EHLO": "550 no", "HELO": "504 5.5.2 need fully-qualified hostname"},
        {"MAIL": "550 5.7.1 null sender refused"},
        {"MAIL": "451 4.7.1 later"},
        {"MAIL": "530 5.7.0 authenticate"},
        {"RCPT": DROP},
        {"RCPT": "gibberish"},
    ],
)
async def test_who_answers_no_questions_refuses_nobody(answers: dict[str, Any]) -> None:
    assert await verify(FakeHop(**answers)) == "unavailable"


async def test_nobody_is_there() -> None:
    with refusing_port() as port:
        prober = Prober(Target(host="127.0.0.1", port=port, hello="mx"))
        verification = await prober.verify(USER)
    assert verification.answer == "unavailable"
    assert "cannot connect" in verification.reason


# --- the connections ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "answer", "connections"),
    [("550 5.1.1 no", "unknown", 4), ("450 4.2.0 later", "unsure", 4), ("250 yes", "known", 1)],
)
async def test_a_connection_ends_with_the_first_refusal(
    reply: str, answer: str, connections: int
) -> None:
    hop = FakeHop(RCPT=reply)
    async with asking(hop) as prober:
        assert [(await prober.verify(USER)).answer for _ in range(4)] == [answer] * 4
        assert hop.connections == connections


async def test_connections_that_are_not_kept() -> None:
    async with FakeHop() as hop:
        prober = Prober(Target(host="127.0.0.1", port=hop.port, hello="mx.example"), keep=False)
        for _ in range(2):
            await prober.verify(USER)
        assert hop.connections == 2


@pytest.mark.parametrize(("product", "answer"), [("hop", "known"), ("Postfix", "unavailable")])
async def test_the_product_in_the_greeting(product: str, answer: str) -> None:
    async with FakeHop() as hop:
        target = Target(host="127.0.0.1", port=hop.port, hello="mx.example")
        prober = Prober(target, product=product)
        assert (await prober.verify(USER)).answer == answer
        assert ("RCPT" in hop.verbs()) is (answer == "known")
        assert (await prober.verify(USER)).answer == answer
        assert hop.connections == 1
        await prober.close()


async def test_a_connection_that_was_cut_is_replaced() -> None:
    hop = FakeHop(RSET=DROP)
    async with asking(hop) as prober:
        assert [(await prober.verify(USER)).answer for _ in range(3)] == ["known"] * 3
        assert hop.connections == 3


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
async def test_a_421_on_a_used_connection_is_not_an_answer(verb: str) -> None:
    answers: dict[str, Any] = {verb: ["250 ok", "421 4.7.0 enough", "250 ok"]}
    hop = FakeHop(**answers)
    async with asking(hop) as prober:
        assert [(await prober.verify(USER)).answer for _ in range(2)] == ["known"] * 2
        assert hop.connections == 2


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.0)
    hop = FakeHop()
    async with asking(hop) as prober:
        await prober.verify(USER)
        await hop.left.wait()
        assert hop.verbs()[-1] == "QUIT"


# --- what replies mean ----------------------------------------------------------------------

MEANINGS = """
known       250 2.1.5 Ok
known       251 2.1.5 will forward
unsure      450 4.2.0 Greylisted, try again
unsure      451 4.3.0 Temporary lookup failure
unsure      452 4.2.2 Mailbox full
unknown     550 5.1.1 <u@x>: Recipient address rejected: User unknown in local recipient table
unknown     550 5.1.1 <u@x>: Recipient address rejected: User unknown in relay recipient table
unknown     550 5.1.1 The email account that you tried to reach does not exist
unknown     553 5.1.2 no such domain
unknown     501 5.1.3 Bad recipient address syntax
unknown     550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
unknown     556 5.1.10 Recipient address has null MX
unknown     550 5.2.1 Mailbox disabled
unknown     552 5.2.2 Mailbox full
unknown     550 5.4.1 Recipient address rejected: Access denied.
unsure      550 5.4.1 no answer from host
unsure      550 5.1.0 Address rejected
unsure      550 5.1.7 <>: Sender address rejected
unsure      550 5.1.8 <a@b>: Sender address rejected: Domain not found
unsure      552 5.2.3 Message too big
unsure      554 5.3.0 Error
unsure      550 5.5.1 Protocol error
unsure      554 5.7.1 <u@x>: Relay access denied
unsure      550 5.7.1 Service unavailable; client host blocked
unsure      550 5.7.27 null MX of sender
unsure      554 5.7.1 <u@x>: Recipient address rejected: Access denied
unsure      530 5.7.0 Must issue a STARTTLS command first
unknown     550 Unrouteable address
unknown     550 <nosuch-relay-blocklist@x>: User unknown
unknown     550 No such user here
unknown     550 Recipient rejected: no such user
unknown     550 moved away
unknown     551 User not local
unknown     553 sorry, no mailbox here by that name
unsure      550 relay not permitted
unsure      550 Recipient rejected
unsure      550 Blocked by policy
unsure      550 authentication required
unsure      553 sorry, that domain isn't in my list of allowed rcpthosts
unsure      552 too much mail
unsure      554 no
unsure      501 syntax
unsure      503 MAIL first
unsure      555 parameters
unsure      521 5.1.1 does not accept mail
unsure      550 4.1.1 contradiction, access
"""


@pytest.mark.parametrize("line", MEANINGS.strip().splitlines())
def test_meaning(line: str) -> None:
    answer, code, text = line.split(maxsplit=2)
    assert meaning(HopReply(int(code), (text,))).answer == answer


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 no", "5.1.1"),
        (552, "5.2.2 full", "5.2.2"),
        (551, "not here", "5.1.6"),
        (556, "null MX", "5.1.10"),
        (550, "5.4.1 Recipient address rejected: Access denied", "5.1.1"),
    ],
)
def test_the_status_for_the_client(code: int, text: str, status: str) -> None:
    assert meaning(HopReply(code, (text,))).status == status


@pytest.mark.parametrize("text", ["a" * 16000, "no " * 5000, "unknown " * 2000, "@" * 16000])
def test_long_replies_are_read_quickly(text: str) -> None:
    begun = time.process_time()
    meaning(HopReply(550, (text,)))
    assert time.process_time() - begun < 0.05
