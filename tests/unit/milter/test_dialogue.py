# SPDX-License-Identifier: MIT
"""What a milter is told, and what becomes of what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from qpsmtpd.mail.session import Transaction
from qpsmtpd.milter.dialogue import Dialogue
from qpsmtpd.milter.edits import Edits
from qpsmtpd.milter.link import CONTINUE, Answer, Manner
from qpsmtpd.milter.links import Links
from qpsmtpd.milter.macros import Server
from qpsmtpd.milter.negotiation import Step
from qpsmtpd.milter.packets import (
    Accept,
    AddHeader,
    AddRecipient,
    AddRecipientWith,
    Body,
    ChangeHeader,
    ChangeSender,
    Connect,
    Continue,
    DeleteRecipient,
    EndOfMessage,
    Header,
    Helo,
    InsertHeader,
    Mail,
    Packet,
    Progress,
    Quarantine,
    Rcpt,
    Reject,
    ReplaceBody,
    Skip,
    Tempfail,
)
from qpsmtpd.milter.wire import MilterError
from qpsmtpd.plugin.place import Place
from qpsmtpd.testing import a_recipient, a_session, a_transaction
from tests.unit.milter.fake import DROP, SILENT, FakeMilter, Says, Turns

SERVER = Server("mx.example", "qpsmtpd 2.0")
OWN = "Received: from client.example\n\tby mx.example; today\n"
TEXT = f"{OWN}Subject: one\nReceived: two\nX: 1\nX: 2\n\nHello.\n"


def links_to(milter: FakeMilter, **how: float) -> Links:
    return Links(Manner(place=Place(path=str(milter.path)), **how), 0.0)  # type: ignore[arg-type]


async def a_dialogue(milter: FakeMilter, tx: Transaction, **how: float) -> Dialogue:
    dialogue, answer = await Dialogue.begin(links_to(milter, **how), SERVER, tx.session)
    assert answer == CONTINUE
    return dialogue


async def told(
    milter: FakeMilter, tx: Transaction, *, apply: bool = True, **how: float
) -> tuple[Answer, Edits]:
    """Tell a milter of a whole message."""
    dialogue = await a_dialogue(milter, tx, **how)
    try:
        answer, edits = await dialogue.message(tx, apply=apply)
    except MilterError:
        dialogue.abort()
        raise
    await dialogue.end()
    await milter.ended.wait()
    return answer, edits


async def changed(*changes: Packet, text: str = TEXT, steps: int = 0) -> Transaction:
    """A message after a milter has changed it."""
    tx = a_transaction("me@a.test", "one@b.test", "two@b.test", message=text)
    async with FakeMilter({EndOfMessage: [*changes, Accept()]}, steps=steps) as milter:
        answer, edits = await told(milter, tx)
    assert answer == Accept()
    assert edits.carry_out()
    return tx


async def header_after(*changes: Packet, text: str = TEXT, steps: int = 0) -> str:
    """The header section after that, without our own field."""
    tx = await changed(*changes, text=text, steps=steps)
    assert tx.message is not None
    return bytes(tx.message.headers).decode().replace("\r\n", "\n").replace(OWN, "(own)\n")


# --- what it is told --------------------------------------------------------------------------


async def test_a_whole_message() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT, parameters={"SIZE": "9", "X": None})
    async with FakeMilter() as milter:
        await told(milter, tx)
    assert milter.kinds() == [
        *("Connect", "Helo", "Mail", "Rcpt", "Data"),
        *("Header", "Header", "Header", "Header", "EndOfHeaders", "Body", "EndOfMessage", "Quit"),
    ]
    assert milter.heard[:4] == [
        Connect(b"[192.0.2.1]", b"4", 40000, b"192.0.2.1"),
        Helo(b"client.example"),
        Mail((b"<me@a.test>", b"SIZE=9", b"X")),
        Rcpt((b"<one@b.test>",)),
    ]
    assert milter.heard[5:11] == [
        Header(b"Subject", b"one"),
        Header(b"Received", b"two"),
        Header(b"X", b"1"),
        Header(b"X", b"2"),
        milter.heard[9],
        Body(b"Hello.\r\n"),
    ]


async def test_the_usual_macros() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    tx.session.auth_user, tx.session.auth_mechanism = "joe", "PLAIN"
    async with FakeMilter() as milter:
        await told(milter, tx)
    assert milter.macros[b"C"] == {
        b"j": b"mx.example",
        b"{daemon_name}": b"mx.example",
        b"{daemon_addr}": b"198.51.100.25",
        b"v": b"qpsmtpd 2.0",
        b"_": b"unknown [192.0.2.1]",
    }
    assert b"H" not in milter.macros
    assert milter.macros[b"M"] == {
        b"i": tx.id.encode(),
        b"{auth_type}": b"PLAIN",
        b"{auth_authen}": b"joe",
        b"{mail_addr}": b"me@a.test",
        b"{mail_host}": b"a.test",
        b"{mail_mailer}": b"smtp",
    }
    assert milter.macros[b"R"] == {
        b"i": tx.id.encode(),
        b"{rcpt_addr}": b"one@b.test",
        b"{rcpt_host}": b"b.test",
        b"{rcpt_mailer}": b"smtp",
    }
    for stage in (b"T", b"N", b"E"):
        assert milter.macros[stage] == {b"i": tx.id.encode()}


async def test_macros_that_it_chooses() -> None:
    tx = a_transaction(
        "me@a.test",
        "one@b.test",
        message=TEXT,
        session=a_session("2001:db8::1", ehlo="x", client_name="c.test"),
    )
    wanted = [(0, b"{client_addr} {client_ptr} {no_such} {client_resolve}"), (5, b"")]
    async with FakeMilter(macros=wanted) as milter:
        await told(milter, tx)
    assert milter.heard[0] == Connect(b"c.test", b"6", 40000, b"2001:db8::1")
    assert milter.macros[b"C"][b"{client_addr}"] == b"2001:db8::1"
    assert milter.macros[b"C"][b"{client_ptr}"] == b"c.test"
    assert set(milter.macros[b"C"]) == {b"{client_addr}", b"{client_ptr}", b"{client_resolve}"}
    assert b"E" not in milter.macros


async def test_steps_that_it_leaves_out() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    steps = Step.NO_CONNECT | Step.NO_HELO | Step.NO_HEADERS | Step.NO_BODY | Step.NO_DATA
    async with FakeMilter(steps=steps) as milter:
        await told(milter, tx)
    assert milter.kinds() == ["Mail", "Rcpt", "EndOfHeaders", "EndOfMessage", "Quit"]
    assert b"j" in milter.macros[b"C"], "macros are sent all the same, as Postfix does"


async def test_steps_that_it_does_not_answer() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter(steps=0xFF080) as milter:
        answer, _ = await told(milter, tx)
    assert answer == Continue()
    assert len(milter.heard) == 13


async def test_an_old_milter() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter(version=2, actions=0x1F) as milter:
        await told(milter, tx)
    assert "Data" not in milter.kinds()


async def test_values_with_the_space_after_the_colon() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=f"{OWN}A:1\nB:  2\n\tfolded\n\n")
    async with FakeMilter(steps=Step.LEADING_SPACE) as milter:
        await told(milter, tx)
    assert milter.heard[5:7] == [Header(b"A", b"1"), Header(b"B", b"  2\n\tfolded")]
    async with FakeMilter() as milter:
        tx = a_transaction("me@a.test", "one@b.test", message=f"{OWN}A:1\nB:  2\n\tfolded\n\n")
        await told(milter, tx)
    assert milter.heard[5:7] == [Header(b"A", b"1"), Header(b"B", b" 2\n\tfolded")]


async def test_what_is_not_a_field_begins_the_body() -> None:
    """Mail systems see it so: nothing may hide from a filter between the fields."""
    text = f"{OWN}A: 1\nnot a field\nB: 2\n\nHello.\n"
    tx = a_transaction("me@a.test", "one@b.test", message=text)
    async with FakeMilter() as milter:
        await told(milter, tx)
    assert Header(b"A", b"1") in milter.heard
    assert Header(b"B", b"2") not in milter.heard
    assert Body(b"not a field\r\nB: 2\r\n\r\nHello.\r\n") in milter.heard


async def test_a_long_body_comes_in_chunks() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=OWN + "\n" + "x" * 98 * 2000 + "\n")
    async with FakeMilter() as milter:
        await told(milter, tx)
    chunks = [packet.chunk for packet in milter.heard if isinstance(packet, Body)]
    assert [len(chunk) for chunk in chunks] == [65535, 65535, 64932]


async def test_a_field_that_is_too_long_is_cut() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=f"{OWN}A: {'x' * 70000}\n\n")
    async with FakeMilter() as milter:
        await told(milter, tx)
    [field] = [packet for packet in milter.heard if isinstance(packet, Header)]
    assert len(field.name) + len(field.value) == 65533


@pytest.mark.parametrize("kind", [Header, Body])
async def test_it_has_seen_enough(kind: type[Packet]) -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=OWN + "A: 1\nB: 2\n\n" + "x" * 200000)
    async with FakeMilter({kind: Skip()}, steps=Step.SKIP) as milter:
        await told(milter, tx)
    assert milter.kinds().count(kind.__name__) == 1
    assert milter.kinds()[-2:] == ["EndOfMessage", "Quit"]


@pytest.mark.parametrize("kind", [Header, Body, EndOfMessage])
async def test_it_is_told_nothing_after_its_verdict(kind: type[Packet]) -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({kind: Reject()}) as milter:
        answer, _ = await told(milter, tx)
    assert answer == Reject()
    assert milter.kinds()[-2:] == [kind.__name__, "Quit"]


async def test_a_transaction_that_ends_early() -> None:
    tx = a_transaction("me@a.test")
    async with FakeMilter() as milter:
        dialogue = await a_dialogue(milter, tx)
        await dialogue.mail(tx)
        await dialogue.rcpt(tx, a_recipient())
        await dialogue.forget(tx)
        await dialogue.forget(tx)
        await dialogue.end()
        await milter.ended.wait()
    assert milter.kinds() == ["Connect", "Helo", "Mail", "Rcpt", "Abort", "Quit"]


async def test_a_transaction_that_goes_on_is_told_again() -> None:
    """A second MAIL was refused by somebody else, and so was HELO."""
    first = a_transaction("me@a.test")
    async with FakeMilter() as milter:
        dialogue = await a_dialogue(milter, first)
        await dialogue.mail(first)
        recipient = a_recipient("one@b.test")
        await dialogue.rcpt(first, recipient)
        first.recipients.append(recipient)
        second = a_transaction("other@a.test", session=first.session)
        await dialogue.mail(second)
        await dialogue.hello("again")
        await dialogue.data(first)
        await dialogue.end()
        await milter.ended.wait()
    assert milter.kinds() == [
        *("Connect", "Helo", "Mail", "Rcpt", "Abort"),
        *("Mail", "Abort", "Helo", "Mail", "Rcpt", "Data", "Abort", "Quit"),
    ]


async def test_recipients_that_it_has_refused_do_not_end_the_message() -> None:
    tx = a_transaction("me@a.test")
    async with FakeMilter({Rcpt: Turns(Tempfail(), Continue())}) as milter:
        dialogue = await a_dialogue(milter, tx)
        await dialogue.mail(tx)
        assert await dialogue.rcpt(tx, a_recipient("one@b.test")) == Tempfail()
        assert await dialogue.rcpt(tx, a_recipient("two@b.test")) == Continue()
        await dialogue.end()
        await milter.ended.wait()
    assert milter.kinds().count("Mail") == 1


# --- what it asks for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "header"),
    [
        (AddHeader(b"N", b"v"), "(own)\nSubject: one\nReceived: two\nX: 1\nX: 2\nN: v\n"),
        (InsertHeader(0, b"N", b"v"), "N: v\n(own)\nSubject: one\nReceived: two\nX: 1\nX: 2\n"),
        (InsertHeader(1, b"N", b"v"), "(own)\nN: v\nSubject: one\nReceived: two\nX: 1\nX: 2\n"),
        (InsertHeader(99, b"N", b"v"), "(own)\nSubject: one\nReceived: two\nX: 1\nX: 2\nN: v\n"),
        (ChangeHeader(2, b"x", b"v"), "(own)\nSubject: one\nReceived: two\nX: 1\nx: v\n"),
        (ChangeHeader(0, b"X", b"v"), "(own)\nSubject: one\nReceived: two\nX: v\nX: 2\n"),
        (ChangeHeader(1, b"X", b""), "(own)\nSubject: one\nReceived: two\nX: 2\n"),
        (ChangeHeader(3, b"X", b"v"), "(own)\nSubject: one\nReceived: two\nX: 1\nX: 2\nX: v\n"),
        (ChangeHeader(3, b"X", b""), "(own)\nSubject: one\nReceived: two\nX: 1\nX: 2\n"),
        (ChangeHeader(1, b"Received", b"v"), "(own)\nSubject: one\nReceived: v\nX: 1\nX: 2\n"),
        (ChangeHeader(1, b"Received", b""), "(own)\nSubject: one\nX: 1\nX: 2\n"),
    ],
)
async def test_header_fields(change: Packet, header: str) -> None:
    assert await header_after(change) == header


async def test_what_was_removed_does_not_count_any_more() -> None:
    """As in Postfix."""
    changes = [ChangeHeader(1, b"X", b""), ChangeHeader(1, b"X", b"v")]
    assert await header_after(*changes) == "(own)\nSubject: one\nReceived: two\nX: v\n"


async def test_our_own_field_is_known_below_others() -> None:
    tx = await changed(InsertHeader(0, b"Received", b"zero"), ChangeHeader(2, b"Received", b"v"))
    assert tx.message is not None
    assert tx.message.headers.get_all("Received")[0] == "zero"
    assert tx.message.headers.get_all("Received")[2] == "v"


async def test_fields_stay_above_what_is_not_one() -> None:
    text = f"{OWN}A: 1\nnot a field\nB: 2\n\n"
    header = await header_after(AddHeader(b"N", b"v"), text=text)
    assert header == "(own)\nA: 1\nN: v\nnot a field\nB: 2\n"


@pytest.mark.parametrize(
    ("value", "steps", "line"),
    [
        (b" v", Step.LEADING_SPACE, "N: v"),
        (b"v", Step.LEADING_SPACE, "N:v"),
        (b" v", 0, "N:  v"),
        (b"a\n\tb\r\n c\rd\n", 0, "N: a\n\tb\n c\n\td"),
        (b"a\n\nBcc: x", 0, "N: a\n\tBcc: x"),
        (b"a\x01b", 0, "N: a?b"),
        (b"caf\xe9", 0, "N: caf\udce9"),
    ],
)
async def test_values(value: bytes, steps: int, line: str) -> None:
    tx = await changed(AddHeader(b"N", value), steps=steps)
    assert tx.message is not None
    wanted = f"{line}\n".replace("\n", "\r\n").encode("utf-8", "surrogateescape")
    assert bytes(tx.message.headers).endswith(wanted)


async def test_recipients_and_sender() -> None:
    tx = await changed(
        AddRecipient(b"<three@c.test>"),
        AddRecipient(b"two@b.test"),
        AddRecipientWith(b"<four@c.test>", b"NOTIFY=NEVER OTHER=1"),
        DeleteRecipient(b"<one@b.test>"),
        ChangeSender(b"<new@a.test>", b"RET=HDRS"),
    )
    assert list(map(str, tx.recipients)) == ["two@b.test", "three@c.test", "four@c.test"]
    assert tx.recipients[2].parameters == {"NOTIFY": "NEVER"}
    assert tx.sender == "new@a.test"
    assert tx.mail_parameters == {"RET": "HDRS"}


async def test_a_null_sender() -> None:
    assert (await changed(ChangeSender(b"<>"))).reverse_path is None


async def test_other_recipients_in_place_of_all() -> None:
    deleted = [DeleteRecipient(b"<one@b.test>"), DeleteRecipient(b"<two@b.test>")]
    tx = await changed(*deleted, AddRecipient(b"<box@c.test>"))
    assert list(map(str, tx.recipients)) == ["box@c.test"]


async def test_nobody_is_left() -> None:
    tx = a_transaction("me@a.test", "one@b.test", "one@B.test", message=TEXT)
    changes = [AddHeader(b"N", b"v"), DeleteRecipient(b"<one@b.test>")]
    async with FakeMilter({EndOfMessage: [*changes, Continue()]}) as milter:
        _, edits = await told(milter, tx)
    assert not edits.carry_out()
    assert tx.message is not None
    assert "N" not in tx.message.headers


async def body_after(*chunks: bytes) -> bytes:
    tx = await changed(*map(ReplaceBody, chunks))
    assert tx.message is not None
    return b"".join([block async for block in tx.message.stream_body()])


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        ((b"new\r\n",), b"new\r\n"),
        ((b"a\n", b"b"), b"a\r\nb\r\n"),
        ((b"a\r", b"\nb\r\n"), b"a\r\nb\r\n"),
        ((b"",), b""),
        ((b"x" * 65535, b"y\r\n"), b"x" * 65535 + b"y\r\n"),
    ],
)
async def test_another_body(chunks: Sequence[bytes], body: bytes) -> None:
    assert await body_after(*chunks) == body


async def test_another_body_replaces_what_is_not_a_field() -> None:
    tx = await changed(ReplaceBody(b"new\r\n"), text=f"{OWN}A: 1\nnot a field\n\nold\n")
    assert tx.message is not None
    whole = b"".join([block async for block in tx.message.stream()])
    assert whole.endswith(b"A: 1\r\n\r\nnew\r\n")


async def test_changes_around_a_new_body() -> None:
    tx = await changed(
        AddHeader(b"N", b"1"),
        ReplaceBody(b"a"),
        Progress(),
        AddHeader(b"N", b"2"),
        ReplaceBody(b"b"),
    )
    assert tx.message is not None
    assert tx.message.headers.get_all("N") == ["1", "2"]
    assert tx.message.body.in_memory == b"\r\nab\r\n"


async def test_a_message_that_must_not_change() -> None:
    """mode=shadow"""
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({EndOfMessage: [ReplaceBody(b"new\r\n"), Accept()]}) as milter:
        await told(milter, tx, apply=False)
    assert tx.message is not None
    assert tx.message.body.in_memory == b"\r\nHello.\r\n"


async def test_progress_gives_it_its_time_anew() -> None:
    async def replies() -> AsyncIterator[Packet]:
        for reply in (Progress(), AddHeader(b"X", b"y"), Progress(), Accept()):
            yield reply

    async with asyncio.timeout(None) as limit:
        ends = []
        async for _ in Dialogue._in_time(replies(), limit, 100.0):  # type: ignore[arg-type]
            ends.append(limit.when())
            limit.reschedule(None)
    assert [end is not None for end in ends] == [True, False, True, False]


async def test_quarantine() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({EndOfMessage: [Quarantine(b"bad"), Accept()]}) as milter:
        _, edits = await told(milter, tx)
    assert edits.quarantine == "bad"


# --- failures ---------------------------------------------------------------------------------

NONSENSE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@pytest.mark.parametrize("kind", [Connect, Helo, Mail, Rcpt, Header, Body, EndOfMessage])
@pytest.mark.parametrize(
    ("says", "text"),
    [
        (DROP, "closed the connection"),
        (NONSENSE, "does not speak the milter protocol"),
        (b"\0\0\0\x01?", "not known"),
        (AddHeader(b"X", b"y"), "out of turn"),
        (b"\0\0\0\x01f", "cannot do its work"),
    ],
)
async def test_it_fails(kind: type[Packet], says: Says, text: str) -> None:
    if kind is EndOfMessage and says == AddHeader(b"X", b"y"):
        says = Skip()
        text = "Skip"
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({kind: says}, steps=0) as milter:
        with pytest.raises(MilterError, match=text):
            await told(milter, tx)


@pytest.mark.parametrize("kind", [Connect, Mail, Header, EndOfMessage])
async def test_it_says_nothing(kind: type[Packet]) -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({kind: SILENT}) as milter:
        with pytest.raises(MilterError, match=r"timed out|takes longer"):
            await told(milter, tx, timeout=0.05, content_timeout=0.1)


@pytest.mark.parametrize(
    "says",
    [
        [ReplaceBody(b"half"), DROP],
        [ReplaceBody(b"half"), NONSENSE],
        [ReplaceBody(b"\0"), Accept()],
        [ReplaceBody(b"a\rb"), Accept()],
        [ReplaceBody(b"new"), AddHeader(b"not a name", b"v"), Accept()],
        [ReplaceBody(b"new"), AddRecipient(b"nobody"), Accept()],
        [ReplaceBody(b"new"), AddRecipientWith(b"a@b.test", b"NOTIFY=SOMETIMES"), Accept()],
        [ReplaceBody(b"new"), AddRecipient(b"<>"), Accept()],
        [ReplaceBody(b"new"), ChangeSender("<ü@b.test>".encode()), Accept()],
        [*[AddHeader(b"X", b"y")] * 2001, Accept()],
    ],
)
async def test_it_asks_for_what_cannot_be(says: Says) -> None:
    """The message is then as it was."""
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    assert tx.message is not None
    before = bytes(tx.message.headers), tx.message.body.in_memory
    async with FakeMilter({EndOfMessage: says}) as milter:
        with pytest.raises(MilterError):
            await told(milter, tx)
    assert (bytes(tx.message.headers), tx.message.body.in_memory) == before


async def test_it_answers_more_than_it_was_asked() -> None:
    tx = a_transaction("me@a.test", "one@b.test", message=TEXT)
    async with FakeMilter({Mail: [Continue(), Continue()]}) as milter:
        with pytest.raises(MilterError, match="unasked"):
            await told(milter, tx)


async def test_a_place_where_nobody_is() -> None:
    tx = a_transaction("me@a.test")
    async with FakeMilter() as milter:
        await milter.stop()
        with pytest.raises(MilterError, match="cannot be reached"):
            await a_dialogue(milter, tx)


# --- connections that are used again ----------------------------------------------------------


async def a_message(links: Links, name: str) -> None:
    """A client, its message, and its end."""
    tx = a_transaction("me@a.test", "one@b.test", session=a_session(ehlo=name), message=TEXT)
    dialogue, answer = await Dialogue.begin(links, SERVER, tx.session)
    assert answer == CONTINUE
    await dialogue.message(tx, apply=True)
    await dialogue.end()


async def test_the_next_client_on_the_same_connection() -> None:
    async with FakeMilter() as milter:
        links = Links(Manner(place=Place(path=str(milter.path))), 60.0)
        for name in ("one", "two"):
            await a_message(links, name)
        links.close()
        await milter.ended.wait()
        assert milter.connections == 1
    assert [kind for kind in milter.kinds() if kind in ("Connect", "QuitNewClient", "Quit")] == [
        *("Connect", "QuitNewClient", "Connect", "QuitNewClient", "Quit")
    ]


@pytest.mark.parametrize("says", [Accept(), Reject()])
async def test_no_client_follows_unless_libmilter_would_see_it(says: Packet) -> None:
    """It ignores QUIT_NC after any other answer, and then does not answer any more."""
    async with FakeMilter({EndOfMessage: says}) as milter:
        links = Links(Manner(place=Place(path=str(milter.path))), 60.0)
        await a_message(links, "one")
        await milter.ended.wait()
    assert "QuitNewClient" not in milter.kinds()


async def test_a_used_connection_that_breaks_is_no_failure() -> None:
    async with FakeMilter({Connect: Turns(Continue(), DROP, Continue())}) as milter:
        links = Links(Manner(place=Place(path=str(milter.path))), 60.0)
        for name in ("one", "two"):
            await a_message(links, name)
        links.close()
        await milter.ended.wait()
        assert milter.connections == 2


async def test_a_waiting_connection_that_was_closed_is_not_used() -> None:
    async with FakeMilter() as milter:
        links = Links(Manner(place=Place(path=str(milter.path))), 60.0)
        await a_message(links, "one")
        await milter.stop()
        await milter.start()
        await a_message(links, "two")
        links.close()
        await milter.ended.wait()
        assert milter.connections == 2
