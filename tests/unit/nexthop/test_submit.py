# SPDX-License-Identifier: MIT
"""How messages go to a next hop with CHUNKING, and BINARYMIME ones nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qpsmtpd.mail.message import Body, Message
from qpsmtpd.mail.session import Transaction
from qpsmtpd.nexthop.client import connect
from qpsmtpd.nexthop.submit import LARGE, hand_over
from qpsmtpd.nexthop.target import Target
from qpsmtpd.testing import a_plugin, a_session, a_transaction
from tests.unit.nexthop.fake import DROP, KEYWORDS, FakeHop
from tests.unit.plugins.queue.test_smtp_forward import a_mail, forward, forwarder, summary

CHUNKING = (*KEYWORDS, "CHUNKING")
BINARY = (*CHUNKING, "BINARYMIME")
MESSAGE = b"Subject: x\r\n\r\nHello\r\n.dot\r\n"
BIG = MESSAGE + (b"x" * 70 + b"\r\n.\r\n") * 1000
TWO = ("a@x.test", "b@x.test")
NO_LINES = b"Subject: x\r\n\r\n\0\n.\r\n\r"


def a_binary_mail(*recipients: str) -> Transaction:
    tx = a_mail(*recipients, parameters={"BODY": "BINARYMIME"})
    tx.message = Message.from_bytes(NO_LINES)
    return tx


async def test_several_recipients() -> None:
    hop = FakeHop(keywords=CHUNKING)
    assert summary(await forward(hop, a_mail(*TWO))) == ("accept", 0, "2.0.0")
    assert hop.messages == [MESSAGE]
    assert hop.verbs() == ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT", "QUIT"]


async def test_one_recipient_of_a_small_message() -> None:
    """DATA travels with the envelope: nothing is to be saved."""
    hop = FakeHop(keywords=CHUNKING)
    assert (await forward(hop, a_mail())).accepted
    assert hop.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_a_large_message() -> None:
    assert len(BIG) > LARGE
    hop = FakeHop(keywords=CHUNKING)
    assert (await forward(hop, a_mail(message=BIG))).accepted
    assert hop.messages == [BIG]
    assert hop.commands[3] == f"BDAT {len(BIG)} LAST"


async def test_a_message_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BIG * 40)
    tx = a_mail()
    assert tx.message is not None
    body = Body(b"", path.open("rb"), len(BIG) * 40)
    tx.message = Message(tx.message.headers, body, 12 + body.size)
    hop = FakeHop(keywords=CHUNKING)
    assert (await forward(hop, tx)).accepted
    assert hop.messages == [b"Subject: x\r\n" + BIG * 40]
    tx.close()


@pytest.mark.parametrize(("keywords", "line"), [(KEYWORDS, ""), (CHUNKING, "chunking=no")])
async def test_not_offered_or_not_wanted(keywords: tuple[str, ...], line: str) -> None:
    hop = FakeHop(keywords=keywords)
    assert (await forward(hop, a_mail(*TWO, message=BIG), line)).accepted
    assert "BDAT" not in hop.verbs()


async def test_only_who_was_accepted() -> None:
    hop = FakeHop(keywords=CHUNKING, rcpt={"a@x.test": "550 5.1.1 no"})
    assert (await forward(hop, a_mail(*TWO), "mixed=accept-rest")).accepted
    assert hop.messages == [MESSAGE]
    hop = FakeHop(keywords=CHUNKING, RCPT="550 5.1.1 no")
    assert summary(await forward(hop, a_mail(*TWO))) == ("deny", 550, "5.1.1")
    assert not hop.messages


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("554 5.7.1 no", ("deny", 554, "5.7.1")),
        ("452 4.3.1 full", ("defer", 452, "4.3.1")),
        (DROP, ("defer", 451, "4.4.2")),
    ],
)
async def test_the_reply_to_the_chunk(answer: str, wanted: tuple[str, int, str]) -> None:
    hop = FakeHop(keywords=CHUNKING, dot=answer)
    assert summary(await forward(hop, a_mail(*TWO))) == wanted
    assert hop.connections == 1


async def test_a_connection_is_used_again() -> None:
    hop = FakeHop(keywords=CHUNKING)
    async with hop, forwarder(hop) as plugin:
        for _ in range(2):
            assert (await plugin.hook_queue(a_mail(*TWO))).accepted
    assert hop.connections == 1
    assert hop.messages == [MESSAGE] * 2


async def test_in_doubt_once_all_has_been_sent() -> None:
    """The next hop may have taken it: nobody else is to."""
    hop = FakeHop(keywords=CHUNKING, dot=DROP)
    verdict = await forward(hop, a_mail(*TWO))
    assert not verdict.tentative
    assert len(hop.messages) == 1


async def test_breaks_off_within_a_large_chunk(tmp_path: Path) -> None:
    tx = a_mail()
    assert tx.message is not None
    path = tmp_path / "body"
    path.write_bytes(BIG * 200)
    tx.message = Message(tx.message.headers, Body(b"", path.open("rb"), len(BIG) * 200), 0)
    hop = FakeHop(keywords=CHUNKING, breaks_off=[1000])
    verdict = await forward(hop, tx)
    assert summary(verdict) == ("defer", 451, "4.4.2")
    assert verdict.tentative
    tx.close()


async def test_a_message_of_another_size_is_not_sent_to_its_end() -> None:
    class Wrong(Body):
        async def stream(self) -> AsyncIterator[bytes]:
            yield b"\r\nx\r\n" * self.factor

        factor = 1

    for factor in (1, 100):
        tx = a_mail(*TWO)
        assert tx.message is not None
        body = Wrong(b"", open(__file__, "rb"), 50)  # noqa: SIM115, PTH123
        body.factor = factor
        tx.message = Message(tx.message.headers, body, 60)
        async with FakeHop(keywords=CHUNKING) as hop:
            client = await connect(Target(host="127.0.0.1", port=hop.port, hello="me.example"))
            with pytest.raises(RuntimeError, match="size"):
                await hand_over(client, tx, tx.recipients, go_on=lambda _: True)
            client.abort()
        assert not client.dot_sent
        assert not hop.messages
        tx.close()


# --- binary messages ------------------------------------------------------------------------


async def test_a_binary_message() -> None:
    hop = FakeHop(keywords=BINARY)
    assert (await forward(hop, a_binary_mail())).accepted
    assert hop.messages == [NO_LINES]
    assert hop.commands[1].endswith(" BODY=BINARYMIME")


@pytest.mark.parametrize("keywords", [KEYWORDS, CHUNKING, (*KEYWORDS, "BINARYMIME")])
async def test_a_next_hop_that_takes_only_lines(keywords: tuple[str, ...]) -> None:
    hop = FakeHop(keywords=keywords)
    assert summary(await forward(hop, a_binary_mail())) == ("defer", 451, "4.6.3")
    assert not hop.messages


async def test_a_binary_message_that_a_plugin_has_given_lines() -> None:
    tx = a_binary_mail()
    assert tx.message is not None
    await tx.message.replace_body(b"hello\r\n")
    hop = FakeHop()
    assert (await forward(hop, tx)).accepted
    assert hop.messages == [b"Subject: x\r\n\r\nhello\r\n"]


async def test_what_is_offered() -> None:
    for keywords, wanted in (
        (BINARY, ["CHUNKING", "DSN", "BINARYMIME"]),
        (CHUNKING, ["CHUNKING", "DSN"]),
        (("BINARYMIME",), ["CHUNKING"]),
    ):
        async with FakeHop(keywords=keywords) as hop, forwarder(hop) as plugin:
            assert (await plugin.hook_queue(a_mail())).accepted
            session = a_session()
            session.capabilities = ["CHUNKING"]
            await plugin.hook_ehlo(session, "client.example")
            assert session.capabilities == wanted
            session.capabilities = []
            await plugin.hook_ehlo(session, "client.example")
            assert "BINARYMIME" not in session.capabilities


async def test_lmtp_answers_for_each_recipient() -> None:
    from qpsmtpd.plugins.queue.lmtp import Lmtp

    hop = FakeHop(keywords=CHUNKING, lmtp=True, dots=["250 2.0.0 taken", "452 4.2.2 full"])
    async with hop:
        plugin = await a_plugin(Lmtp, f"127.0.0.1 {hop.port}", name="queue/lmtp")
        tx = a_transaction("from@example.com", *TWO, message=MESSAGE)
        assert summary(await plugin.hook_queue(tx)) == ("defer", 451, "4.0.0")
        await plugin.stop()
    assert hop.messages == [MESSAGE]
    assert "BDAT" in hop.verbs()
