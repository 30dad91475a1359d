# SPDX-License-Identifier: MIT
"""The milter front: what mail systems are told, and what nonsense of theirs costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.config.loader import load
from qpsmtpd.milter import packets
from qpsmtpd.milter.negotiation import Action, Step
from qpsmtpd.milter.packets import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Connect,
    Continue,
    DeleteRecipient,
    Discard,
    InsertHeader,
    Packet,
    Quarantine,
    ReplaceBody,
    ReplyCode,
    Tempfail,
)
from qpsmtpd.testing import FakeResolver, serve
from tests.unit.fronts.front_plugins import obeying
from tests.unit.fronts.mta import milter_of

TEXT = b"Subject: test\n\nHello.\n"
RESULTS = InsertHeader(
    0,
    b"Authentication-Results",
    b" mx.example.test;\n\tauth=none;\n\tiprev=pass policy.iprev=192.0.2.9",
)
FAULT = ReplyCode(b"451 4.3.0 Internal error, please try again later")


async def test_a_good_message(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.message(TEXT, i="4XYZ") == [RESULTS, Continue()]


async def test_several_messages_and_clients(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        for _ in range(2):
            assert await mta.message(TEXT) == [RESULTS, Continue()]
            assert await mta.mail() == Continue()
            assert await mta.rcpt() == Continue()
            mta.send(packets.Abort())
            assert await mta.mail() == Continue()
            assert await mta.rcpt("deny@example.test") != Continue()
            assert await mta.rcpt() == Continue()
        mta.send(packets.QuitNewClient())
        refused = await mta.connect(Connect(b"[192.0.2.66]", b"4", 1, b"192.0.2.66"))
        assert refused == ReplyCode(b"550 5.7.1 Not you")
        mta.send(packets.Quit())
        assert await mta.receive() is None
        assert serving.server.connections == 0


@pytest.mark.parametrize(
    ("word", "reply"),
    [
        ("deny", b"550 5.7.1 100%% no"),
        ("defer", b"450 4.7.1 Later"),
        ("lines", b"550-5.7.1 one\r\n550 5.7.1 two"),
        ("fault", FAULT.text),
    ],
)
async def test_refusals(tmp_path: Path, word: str, reply: bytes) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        mta.send(packets.Abort())
        assert await mta.mail(f"{word}@client.example") == ReplyCode(reply)
        assert await mta.mail() == Continue()
        assert await mta.rcpt(f"{word}@example.test") == ReplyCode(reply)
        assert await mta.rcpt() == Continue()
        [answer] = await mta.message(b"X-Do: %b\n\nHello\n" % word.encode())
        expected = reply.replace(b"550", b"552").replace(b"450", b"452")
        assert answer == ReplyCode(expected)


async def test_a_refusal_of_data(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        await mta.mail("deny@data.example")
        await mta.rcpt()
        assert await mta.message(TEXT) == [ReplyCode(b"554 5.7.1 100%% no")]


async def test_a_hello_that_is_refused(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.negotiate()
        await mta.connect()
        assert await mta.hello("bad.example") == ReplyCode(b"550 5.7.1 Not this name")
        assert await mta.hello("b\tad") == ReplyCode(b"501 5.5.4 Bad characters in host name")


async def test_after_a_refusal_that_closes_all_is_refused(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        refused = ReplyCode(b"550 5.7.1 Go away")
        assert await mta.rcpt("leave@example.test") == refused
        assert await mta.rcpt() == refused
        assert await mta.message(TEXT) == [refused]


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        (b"Subject: s\nX-Do: change\n\nx\n", [ChangeHeader(1, b"Subject", b" changed")]),
        (b"X-Old: 1\nX-Do: remove\nX-Old: 2\n\nx\n", [
            ChangeHeader(2, b"X-Old", b""), ChangeHeader(1, b"X-Old", b"")
        ]),
        (b"X-Do: append\n\nx\n", [AddHeader(b"X-Bottom", b" 1")]),
        (b"X-Do: add\n\nx\n", [AddRecipient(b"<more@example.test>")]),
        (b"X-Do: sender\n\nx\n", [ChangeSender(b"<>")]),
        (b"X-Do: hold\n\nx\n", [Quarantine(b"for a look")]),
    ],
)  # fmt: skip
async def test_changes(tmp_path: Path, text: bytes, edits: list[Packet]) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.message(text) == [RESULTS, *edits, Continue()]


async def test_results_that_claim_to_be_ours_go(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        claim = b"Authentication-Results: mx.example.test; spf=pass\n"
        answers = await mta.message(b"X: 1\n" + claim + b"\nx\n")
        gone = ChangeHeader(2, b"Authentication-Results", b"")
        assert answers == [RESULTS, gone, Continue()]
        await mta.mail()
        await mta.rcpt()
        ours = ChangeHeader(1, RESULTS.name, RESULTS.value)
        assert await mta.message(claim + b"X: 1\n\nx\n") == [ours, Continue()]


async def test_a_message_that_is_dropped(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.message(b"X-Do: drop\n\nx\n") == [Discard()]


async def test_another_body(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        answers = await mta.message(b"X-Do: body\n\nold\n")
        parts = [part.chunk for part in answers if isinstance(part, ReplaceBody)]
        assert b"".join(parts) == b"new\r\n" * 20_000
        assert max(map(len, parts)) <= 65535


async def test_recipients_that_change(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.rcpt("old@example.test") == Continue()
        answers = await mta.message(b"X-Do: delete\n\nx\n")
        assert answers == [
            RESULTS,
            DeleteRecipient(b"<user@example.test>"),
            DeleteRecipient(b"<old@example.test>"),
            AddRecipient(b"<new@example.test>"),
            Continue(),
        ]


async def test_addresses_without_a_domain_are_of_the_mail_system(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.mail("root") == Continue()
        assert await mta.rcpt("root") == Continue()
        assert await mta.rcpt("postmaster") == Continue()
        assert await mta.message(TEXT) == [RESULTS, Continue()]


async def test_relaying_is_the_business_of_the_mail_system(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        assert await mta.rcpt("user@elsewhere.example") == Continue()
        assert await mta.message(TEXT) == [RESULTS, Continue()]


async def test_a_login_and_tls_are_those_of_the_mail_system(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.negotiate()
        await mta.connect()
        await mta.hello(tls_version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", cipher_bits="256")
        await mta.mail(auth_authen="me", auth_type="PLAIN")
        await mta.rcpt()
        [results, _] = await mta.message(TEXT)
        assert isinstance(results, InsertHeader)
        assert b"auth=pass (plain) smtp.auth=me" in results.value


@pytest.mark.parametrize("blocks", [1, 7, 65535])
async def test_a_large_message(tmp_path: Path, blocks: int) -> None:
    files = obeying(tmp_path) | {"databytes": ["1000000"]}
    async with serve(files) as serving, milter_of(serving) as mta:
        await mta.envelope()
        body = b"line\n" * (200 if blocks < 65535 else 100_000)
        assert (await mta.message(b"Subject: s\n\n" + body, blocks))[-1] == Continue()
        await mta.mail()
        await mta.rcpt()
        refused = await mta.message(b"Subject: s\n\n" + b"line\n" * 300_000)
        assert refused == [ReplyCode(b"552 5.3.4 Message too big")]
        assert await mta.mail() == Continue()
        assert await mta.mail("a@client.example", b"SIZE=2000000") == ReplyCode(
            b"552 5.3.4 Message too big"
        )


@pytest.mark.parametrize("octets", [b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n"])
async def test_bare_line_ends_are_refused_as_in_smtp(tmp_path: Path, octets: bytes) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        await mta.tell(packets.Data())
        await mta.tell(packets.EndOfHeaders())
        await mta.tell(packets.Body(octets))
        [answer] = await mta.tell(packets.EndOfMessage())
        assert isinstance(answer, ReplyCode)
        assert answer.text.startswith(b"550 5.5.2")


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
async def test_versions(tmp_path: Path, version: int) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        answer = await mta.negotiate(version)
        assert answer.version == version
        assert await mta.connect() == Continue()
        assert await mta.hello() == Continue()
        assert await mta.mail() == Continue()
        assert await mta.rcpt() == Continue()
        [results, last] = await mta.message(TEXT)
        assert last == Continue()
        assert isinstance(results, InsertHeader)
        assert results.value == RESULTS.value.removeprefix(b"" if version == 6 else b" ")


async def test_a_refusal_of_data_comes_late_without_its_step(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.negotiate(2)
        await mta.connect()
        await mta.mail("deny@data.example")
        await mta.rcpt()
        assert await mta.message(TEXT) == [ReplyCode(b"554 5.7.1 100%% no")]


async def test_what_no_plugin_needs_is_left_out() -> None:
    files = {"plugins": ["rcpt_ok", "queue/discard"], "reverse_lookup": ["no"]}
    async with serve(files) as serving, milter_of(serving) as mta:
        answer = await mta.negotiate()
        left = Step(answer.steps)
        assert Step.NO_BODY | Step.NO_DATA | Step.NO_UNKNOWN | Step.MUTE_CONNECT in left
        assert not left & (Step.NO_HEADERS | Step.NO_MAIL | Step.NO_RCPT | Step.MUTE_RCPT)
        assert Action(answer.actions) == Action(0x1FF)
        assert {int(stage) for stage, _ in answer.macros} == {0, 1, 2, 5}


async def test_a_change_that_is_not_allowed_is_deferred(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.negotiate(offered=packets.Negotiate(6, 0x1, 0x1FFFFF))
        await mta.connect()
        await mta.mail()
        await mta.rcpt()
        assert await mta.message(b"Subject: s\n\nx\n") == [Tempfail()]
    assert "does not let us change" in caplog.text


NONSENSE: list[tuple[Packet, ...]] = [
    (packets.Mail((b"<a@b.example>",)),),
    (packets.Connect(b"x", b"4", 1, b"not an address"),),
    (packets.Connect(b"x", b"4", 1, b"192.0.2.1"), packets.Connect(b"x", b"U")),
    (packets.Connect(b"x", b"U"), packets.Rcpt((b"<a@b.example>",))),
    (packets.Connect(b"x", b"U"), packets.Mail(())),
    (packets.Connect(b"x", b"U"), packets.EndOfMessage()),
    (packets.Connect(b"x", b"U"), packets.Mail((b"<a@b.c>",)), packets.Body(b"x\r\n")),
    (packets.Connect(b"x", b"U"), packets.Mail((b"<a@b.c>",)), packets.EndOfMessage()),
    (packets.Connect(b"x", b"U"), packets.Header(b"A B", b"x")),
    (packets.Connect(b"x", b"U"), packets.Header(b"A", b"x\n\ny")),
    (packets.Negotiate(1, 0, 0),),
]


@pytest.mark.parametrize("sent", NONSENSE)
async def test_nonsense_ends_the_connection(
    tmp_path: Path, sent: tuple[Packet, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(obeying(tmp_path)) as serving:
        async with milter_of(serving) as mta:
            await mta.negotiate()
            mta.send(*sent)
            while await mta.receive() is not None:
                pass
        async with milter_of(serving) as mta:
            await mta.envelope()
    assert "does not keep to the protocol" in caplog.text
    assert "fault" not in caplog.text


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", b"\0\0\0\1?", b"\0\0\0\1C", b"EHLO x\r\n"])
async def test_octets_of_another_protocol(tmp_path: Path, octets: bytes) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        mta._writer.write(octets)
        assert await mta.receive() is None


async def test_a_mail_system_that_leaves_ends_the_session(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving:
        async with milter_of(serving) as mta:
            await mta.envelope()
            assert serving.server.connections == 1
        async with milter_of(serving) as mta:
            await mta.envelope()


async def test_a_server_that_stops_lets_the_client_finish(tmp_path: Path) -> None:
    async with (
        serve(obeying(tmp_path)) as serving,
        milter_of(serving) as idle,
        milter_of(serving) as mta,
    ):
        await idle.negotiate()
        await mta.envelope()
        for front in tuple(serving.server._fronts):
            front.drain()
        assert await idle.receive() is None
        assert await mta.message(TEXT) == [RESULTS, Continue()]
        mta.send(packets.QuitNewClient())
        assert await mta.receive() is None


async def test_the_next_client_gets_the_new_configuration(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.envelope()
        (serving.directory / "me-auth-results").write_text("none\n")
        serving.server.reload(await load([serving.directory], {}, resolver=FakeResolver()))
        assert serving.server._retired
        assert await mta.message(TEXT) == [RESULTS, Continue()]
        mta.send(packets.QuitNewClient())
        await mta.connect()
        assert not serving.server._retired
        await mta.mail()
        await mta.rcpt()
        assert await mta.message(TEXT) == [Continue()]


async def test_unix_clients_are_local(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, milter_of(serving) as mta:
        await mta.negotiate()
        await mta.connect(Connect(b"localhost", b"U"))
        await mta.mail()
        await mta.rcpt()
        [results, _] = await mta.message(TEXT)
        assert isinstance(results, InsertHeader)
        assert b"policy.iprev=127.0.0.1" in results.value
