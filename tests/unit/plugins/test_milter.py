# SPDX-License-Identifier: MIT
"""milter: what its answers mean for clients and messages."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Decision, Verdict, defer, deny
from qpsmtpd.milter.packets import (
    Accept,
    AddHeader,
    Body,
    Connect,
    Continue,
    Data,
    DeleteRecipient,
    Discard,
    EndOfMessage,
    Helo,
    Mail,
    Negotiate,
    Packet,
    Quarantine,
    Rcpt,
    Reject,
    ReplaceBody,
    ReplyCode,
    Unknown,
)
from qpsmtpd.plugin.base import HookResult
from qpsmtpd.plugin.finding import Severity
from qpsmtpd.plugins.milter import Milter
from qpsmtpd.plugins.queue.postfix_queue import PostfixQueue
from qpsmtpd.testing import (
    FakeClock,
    FakeSystem,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    findings_of,
)
from tests.unit.client import PATIENCE
from tests.unit.milter.fake import DROP, SILENT, FakeMilter, Says, Turns

TEXT = "Received: by us\nSubject: one\n\nHello.\n"


async def plugin_for(milter: FakeMilter, line: str = "", **lent: Any) -> Milter:
    return await a_plugin(Milter, f"test {milter.place} {line}", name="milter", **lent)


async def whole(plugin: Milter, tx: Transaction | None = None) -> tuple[Transaction, list[Any]]:
    """All hooks of a message, until one has an opinion; the verdicts."""
    tx = tx or a_transaction("me@a.test", message=TEXT)
    session, verdicts = tx.session, []
    session.transaction = None
    verdicts.append(await plugin.hook_connect(session))
    verdicts.append(await plugin.hook_ehlo(session, session.hello_host))
    session.transaction = tx
    verdicts.append(await plugin.hook_mail(tx, tx.reverse_path))
    for address in ("one@b.test", "two@b.test"):
        recipient = a_recipient(address)
        verdicts.append(await plugin.hook_verify_recipient(tx, recipient))
        if verdicts[-1] is None:
            tx.recipients.append(recipient)
    verdicts.append(await plugin.hook_data(tx))
    verdicts.append(await plugin.hook_data_post(tx))
    await plugin.hook_reset_transaction(tx)
    await plugin.hook_disconnect(session)
    await plugin.stop()
    return tx, verdicts


async def test_a_message_that_passes() -> None:
    async with FakeMilter() as milter:
        tx, verdicts = await whole(await plugin_for(milter))
        await milter.ended.wait()
    assert verdicts == [None] * 7
    assert milter.kinds() == [
        *("Connect", "Helo", "Helo", "Mail", "Rcpt", "Rcpt", "Data"),
        *("Header", "EndOfHeaders", "Body", "EndOfMessage", "Quit"),
    ]
    assert tx.message is not None


@pytest.mark.parametrize(
    ("kind", "where"), [(Connect, 0), (Mail, 2), (Rcpt, 3), (Data, 5), (Body, 6), (EndOfMessage, 6)]
)
@pytest.mark.parametrize(
    ("says", "verdict"),
    [
        (Reject(), deny(status="5.7.1")),
        (ReplyCode(b"451 4.7.1 Come again"), defer("Come again", status="4.7.1", code=451)),
        (ReplyCode(b"250 2.0.0 Fine"), None),
    ],
)
async def test_refusals(
    kind: type[Packet], where: int, says: Packet, verdict: Verdict | None
) -> None:
    async with FakeMilter({kind: says}) as milter:
        _, verdicts = await whole(await plugin_for(milter))
    found = verdicts[where]
    if verdict is not None:
        assert found == verdict
    assert found.decision is not Decision.ACCEPT
    assert found.reason.startswith("milter test")


@pytest.mark.parametrize("kind", [Connect, Helo, Mail, Rcpt, Data, Body, EndOfMessage])
async def test_nothing_is_told_after_an_accept(kind: type[Packet]) -> None:
    async with FakeMilter({kind: Accept()}) as milter:
        _, verdicts = await whole(await plugin_for(milter))
        await milter.ended.wait()
    assert verdicts == [None] * 7
    assert [name for name in milter.kinds() if name != "Quit"][-1] == kind.__name__


# --- failures ---------------------------------------------------------------------------------

FAILURES: list[Says] = [DROP, b"HTTP/1.1 400 Bad Request\r\n", b"\0\0\0\x01f", SILENT]


@pytest.mark.parametrize("says", FAILURES)
@pytest.mark.parametrize("kind", [Negotiate, Connect, Mail, Rcpt, Data, Body, EndOfMessage])
async def test_a_failure_defers(kind: type[Packet], says: Says) -> None:
    async with FakeMilter({kind: says}) as milter:
        plugin = await plugin_for(milter, "timeout 0.05 content_timeout 0.05")
        tx, verdicts = await whole(plugin)
    found = [verdict for verdict in verdicts if verdict is not None]
    assert found
    assert {(verdict.decision, verdict.code) for verdict in found} == {(Decision.DEFER, 451)}
    assert verdicts[6] in found or verdicts[2] in found or verdicts[5] in found or not tx.recipients
    assert verdicts[:2] == [None, None]


@pytest.mark.parametrize("says", FAILURES)
@pytest.mark.parametrize("kind", [Negotiate, Connect, Mail, Rcpt, Data, Body, EndOfMessage])
async def test_a_failure_passes(kind: type[Packet], says: Says) -> None:
    async with FakeMilter({kind: says}) as milter:
        plugin = await plugin_for(milter, "failure pass timeout 0.05 content_timeout 0.05")
        tx, verdicts = await whole(plugin)
    assert verdicts == [None] * 7
    assert tx.message is not None
    assert bytes(tx.message.headers) == b"Received: by us\r\nSubject: one\r\n"


async def test_it_is_tried_again_at_the_next_step() -> None:
    """It was restarted in the middle: it is told everything again."""
    async with FakeMilter({Rcpt: Turns(DROP, Continue())}) as milter:
        _, verdicts = await whole(await plugin_for(milter))
    assert [verdict is None for verdict in verdicts] == [True, True, True, False, True, True, True]
    assert milter.kinds()[5:11] == ["Connect", "Helo", "Mail", "Rcpt", "Data", "Header"]


async def test_a_client_that_connected_during_an_outage() -> None:
    async with FakeMilter({Connect: Turns(DROP, Reject())}) as milter:
        plugin = await plugin_for(milter)
        tx = a_transaction("me@a.test")
        assert await plugin.hook_connect(tx.session) is None
        assert await plugin.hook_mail(tx, tx.reverse_path) == deny(status="5.7.1")
        await plugin.hook_disconnect(tx.session)


async def test_clients_do_not_wait_for_one_that_is_known_to_be_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    async with FakeMilter() as milter:
        plugin = await plugin_for(milter, clock=clock)
        await milter.stop()
        for _ in range(5):
            tx = a_transaction("me@a.test")
            assert await plugin.hook_connect(tx.session) is None
            assert await plugin.hook_mail(tx, tx.reverse_path) == defer(
                "Service unavailable, please try again later", status="4.7.1", code=451
            )
        await milter.start()
        await whole(plugin, a_transaction("me@a.test", message=TEXT))
        assert milter.connections == 0, "it is left alone"
        clock.advance(60)
        _, verdicts = await whole(plugin)
        assert verdicts == [None] * 7
    assert about_outages(caplog) == ["milter down: test unix:/", "milter up again: test unix:/"]


async def test_clients_that_come_to_no_end_keep_nobody_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was restarted: whoever is the first to try may stay connected for long."""
    clock = FakeClock()
    async with FakeMilter() as milter:
        plugin = await plugin_for(milter, clock=clock)
        await milter.stop()
        assert await plugin.hook_connect(a_session()) is None
        await milter.start()
        clock.advance(1)
        for _ in range(3):
            tx = a_transaction("me@a.test")
            assert await plugin.hook_mail(tx, tx.reverse_path) is None
            await plugin.hook_disconnect(tx.session)
        assert about_outages(caplog) == ["milter down: test unix:/"]
        await whole(plugin)
    assert about_outages(caplog) == ["milter down: test unix:/", "milter up again: test unix:/"]


async def test_one_that_fails_at_the_end_is_tried_by_one_client_at_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    async with FakeMilter({EndOfMessage: Turns(*[DROP] * 4, Continue())}) as milter:
        plugin = await plugin_for(milter, clock=clock)
        for _ in range(3):
            _, verdicts = await whole(plugin)
            assert verdicts[6] is not None
        for wait in (1, 2):
            tx = a_transaction("me@a.test")
            assert await plugin.hook_mail(tx, tx.reverse_path) is not None
            clock.advance(wait)
            _, verdicts = await whole(plugin)
        assert verdicts == [None] * 7
    assert about_outages(caplog) == ["milter down: test unix:/", "milter up again: test unix:/"]


async def test_the_log_says_what_passes_without_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with FakeMilter() as milter:
        plugin = await plugin_for(milter, "failure pass")
        await milter.stop()
        _, verdicts = await whole(plugin)
    assert verdicts == [None] * 7
    passed = [each.getMessage() for each in caplog.records if each.name == plugin.log.name]
    assert passed == [
        "milter=test passed without it: is down: cannot be reached: Connection refused"
    ]


def about_outages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The beginnings of the lines that say when it goes and when it is back."""
    lines = [each.getMessage() for each in caplog.records if each.name == "qpsmtpd.plugin.breaker"]
    return [line[: line.index("/") + 1] for line in lines]


async def test_a_hook_that_is_interrupted_breaks_off() -> None:
    """What the milter says later belongs to nothing any more."""
    async with FakeMilter({Mail: SILENT}) as milter:
        plugin = await plugin_for(milter)
        tx = a_transaction("me@a.test")
        await plugin.hook_connect(tx.session)
        asking = asyncio.create_task(plugin.hook_mail(tx, tx.reverse_path))
        async with asyncio.timeout(PATIENCE):
            while "Mail" not in milter.kinds():
                await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        milter.says[Mail] = Continue()
        assert await plugin.hook_mail(tx, tx.reverse_path) is None
        assert milter.connections == 2
        await plugin.hook_disconnect(tx.session)


# --- discard, quarantine ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Mail, Rcpt, Data, Body, EndOfMessage])
async def test_discard(kind: type[Packet]) -> None:
    async with FakeMilter({kind: Discard()}) as milter:
        tx, verdicts = await whole(await plugin_for(milter))
    assert deny(status="5.7.1") in verdicts
    assert not tx.dropped_by


@pytest.mark.parametrize("kind", [Mail, Rcpt, Data, Body, EndOfMessage])
async def test_discard_drop(kind: type[Packet]) -> None:
    async with FakeMilter({kind: Discard()}) as milter:
        tx, verdicts = await whole(await plugin_for(milter, "discard drop"))
    assert verdicts == [None] * 7
    assert tx.dropped_by == "milter"


async def test_no_recipients_left() -> None:
    deleted = [DeleteRecipient(b"<one@b.test>"), DeleteRecipient(b"<two@b.test>"), Continue()]
    async with FakeMilter({EndOfMessage: deleted}) as milter:
        tx, verdicts = await whole(await plugin_for(milter))
    assert verdicts[6] == deny(status="5.7.1")
    assert len(tx.recipients) == 2


QUARANTINED: dict[type[Packet], Says] = {EndOfMessage: [Quarantine(b"a virus"), Continue()]}


async def test_quarantine_where_nothing_can_hold() -> None:
    async with FakeMilter(QUARANTINED) as milter:
        _, verdicts = await whole(await plugin_for(milter))
    assert verdicts[6] == defer(status="4.7.1")


async def test_quarantine_in_postfix() -> None:
    async with FakeMilter(QUARANTINED) as milter:
        plugin = await plugin_for(milter)
        plugin.services.deliverers.append(await a_plugin(PostfixQueue))
        tx, verdicts = await whole(plugin)
    assert verdicts[6] is None
    assert tx.held_for == "milter test: quarantine a virus"


async def test_quarantine_deny_and_tag() -> None:
    async with FakeMilter(QUARANTINED) as milter:
        _, verdicts = await whole(await plugin_for(milter, "quarantine deny"))
        assert verdicts[6] == deny(status="5.7.1")
        tx = a_transaction("me@a.test", message=TEXT)
        tx.put_fields_on_top()
        tx, verdicts = await whole(await plugin_for(milter, "quarantine tag"), tx)
    assert verdicts[6] is None
    assert tx.message is not None
    assert tx.message.headers.get("X-Quarantine") == "test; a virus"


# --- changes ----------------------------------------------------------------------------------


async def test_changes_are_made() -> None:
    changes = [AddHeader(b"X", b"y"), ReplaceBody(b"new"), Accept()]
    async with FakeMilter({EndOfMessage: changes}) as milter:
        tx, _ = await whole(await plugin_for(milter))
    assert tx.message is not None
    assert tx.message.headers.get("X") == "y"
    assert tx.message.body.in_memory == b"\r\nnew\r\n"


async def test_nothing_is_changed_in_a_shadow() -> None:
    changes = [AddHeader(b"X", b"y"), ReplaceBody(b"new"), Quarantine(b""), Accept()]
    async with FakeMilter({EndOfMessage: changes}) as milter:
        plugin = await plugin_for(milter)
        plugin.mode = "shadow"
        tx, verdicts = await whole(plugin)
    assert verdicts[6] is None
    assert tx.message is not None
    assert "X" not in tx.message.headers
    assert tx.message.body.in_memory == b"\r\nHello.\r\n"


# --- other steps ------------------------------------------------------------------------------


async def test_an_unknown_command() -> None:
    async with FakeMilter({Unknown: Reject()}) as milter:
        plugin = await plugin_for(milter)
        session = a_session()
        await plugin.hook_connect(session)
        verdict = await plugin.hook_unrecognized_command(session, "foo", "bar")
        await plugin.hook_disconnect(session)
    assert verdict == deny(status="5.7.1")
    assert Unknown(b"foo bar") in milter.heard


@pytest.mark.parametrize(("steps", "told"), [(0x800, True), (0, False)])
async def test_recipients_that_others_refuse(steps: int, told: bool) -> None:
    async with FakeMilter(steps=steps) as milter:
        plugin = await plugin_for(milter)
        tx = a_transaction("me@a.test")
        await plugin.hook_connect(tx.session)
        await plugin.hook_mail(tx, tx.reverse_path)
        refused = HookResult("rcpt_ok", "rcpt", deny("No relaying"), a_recipient("x@y.test"))
        await plugin.hook_deny(tx.session, refused)
        await plugin.hook_deny(tx.session, HookResult("milter", "rcpt", deny(), a_recipient()))
        await plugin.hook_data(tx)
        await plugin.hook_disconnect(tx.session)
        await milter.ended.wait()
    assert (Rcpt((b"<x@y.test>",)) in milter.heard) is told
    if told:
        assert milter.macros[b"R"][b"{rcpt_mailer}"] == b"error"
        assert milter.macros[b"R"][b"{rcpt_host}"] == b"5.7.1"
        assert milter.macros[b"R"][b"{rcpt_addr}"] == b"No relaying"


# --- the administrator ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["test", "test nowhere", "test 1 protocol 7", "test 1 failure never", "test 1 discard x"],
)
async def test_wrong_lines(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Milter, line)


async def test_the_line_of_the_perl_version() -> None:
    plugin = await a_plugin(Milter, "clamav 10.0.0.1:7357")
    assert (plugin.options.name, plugin.options.place) == ("clamav", "10.0.0.1:7357")


async def test_examine(tmp_path: Path) -> None:
    async with FakeMilter(version=4, actions=0x3F) as milter:
        plugin = await plugin_for(milter)
        system = FakeSystem(Path("/"))
        [finding] = await findings_of(plugin, system)
        assert finding.severity is Severity.OK
        assert "version 4" in finding.text
        await milter.ended.wait()
        assert milter.kinds() == ["Quit"]
        await milter.stop()
        [finding] = await findings_of(plugin, system)
        assert finding.severity is Severity.ERROR
        [finding] = await findings_of(await plugin_for(milter, "failure pass"), system)
        assert finding.severity is Severity.WARNING
