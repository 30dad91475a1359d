# SPDX-License-Identifier: MIT
"""queue/lmtp: one reply for our client out of one reply per recipient."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Seconds
from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.plugins.queue.lmtp import Lmtp, LmtpOptions
from qpsmtpd.testing import FakeClock, a_plugin, a_recipient, a_transaction
from tests.unit.nexthop.fake import DROP, FakeHop

MESSAGE = b"Message-ID: <1@example>\r\nSubject: x\r\n\r\nHello\r\n"
A, B, C = "a@x.test", "b@x.test", "c@x.test"
OK, NO, LATER = "250 2.0.0 <x> id7 Saved", "550 5.2.2 over quota", "452 4.2.2 over quota"


@asynccontextmanager
async def deliverer(hop: FakeHop, line: str = "", **lent: Any) -> AsyncIterator[Lmtp]:
    plugin = await a_plugin(Lmtp, f"127.0.0.1 {hop.port} {line}", name="queue/lmtp", **lent)
    try:
        yield plugin
    finally:
        await plugin.stop()


def a_mail(*recipients: str, message: bytes = MESSAGE) -> Transaction:
    tx = a_transaction("from@example.com", *recipients, message=message)
    assert tx.message is not None
    # Our own fields differ with each attempt.
    tx.message.headers.prepend("Received", f"by mx.example id {tx.id}")
    return tx


def summary(verdict: Verdict | None) -> tuple[str, int, str]:
    assert verdict is not None
    return verdict.decision.value, verdict.code, verdict.status


def rcpts(hop: FakeHop) -> list[str]:
    return [c.partition("<")[2][:-1] for c in hop.commands if c.startswith("RCPT")]


def test_options_not_given() -> None:
    options = LmtpOptions(host="store.test")
    assert options == LmtpOptions(
        host="store.test",
        port=24,
        mixed="defer",
        remember=Seconds(5 * 86400),
        tls="off",
        ca=None,
        implicit_tls=False,
        tls_name="",
        fingerprint=(),
        user="",
        password_file=None,
        source="",
        pool=20,
        words=False,
        messages=10,
        idle=Seconds(5),
        timeout=Seconds(60),
        dot_timeout=Seconds(300),
        check_recipients=False,
    )
    assert options.check() == []


async def test_delivers_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    async with FakeHop(path=path, lmtp=True) as hop:
        plugin = await a_plugin(Lmtp, f"unix:{path}")
        tx = a_mail(A, B)
        verdict = await plugin.hook_queue(tx)
        await plugin.stop()
    assert verdict == Verdict(Decision.ACCEPT, "Queued as 4XyZ", "2.0.0")
    assert tx.next_hop_id == "4XyZ"
    assert hop.commands[0] == "LHLO mx.example"
    assert len(hop.messages) == 1


@pytest.mark.parametrize(
    ("rcpt", "dots", "line", "expected", "messages"),
    [
        ((), (OK, OK), "", ("accept", 0, "2.0.0"), 1),
        ((), (NO, NO), "", ("deny", 550, "5.2.2"), 1),
        ((NO, NO), (), "", ("deny", 550, "5.2.2"), 0),
        ((), (LATER, LATER), "", ("defer", 452, "4.2.2"), 1),
        ((LATER, LATER), (), "", ("defer", 452, "4.2.2"), 0),
        ((), (NO, LATER), "", ("defer", 451, "4.2.2"), 1),
        ((), (OK, LATER), "", ("defer", 451, "4.0.0"), 1),
        ((), (OK, NO), "", ("defer", 451, "4.0.0"), 1),
        ((), (OK, NO), "mixed=reject", ("deny", 550, "5.0.0"), 1),
        ((), (OK, NO), "mixed=accept", ("accept", 0, "2.0.0"), 1),
        ((), (NO, NO), "mixed=accept", ("deny", 550, "5.2.2"), 1),
        (("", NO), (), "", ("defer", 451, "4.0.0"), 0),
        (("", NO), (), "mixed=reject", ("deny", 550, "5.0.0"), 0),
        (("", NO), (OK,), "mixed=accept", ("accept", 0, "2.0.0"), 1),
        (("", LATER), (OK,), "", ("defer", 451, "4.0.0"), 1),
        ((), (OK, DROP), "", ("defer", 451, "4.0.0"), 1),
        ((), (OK, "garbage"), "", ("defer", 451, "4.0.0"), 1),
        ((), (OK, "354 x"), "", ("defer", 451, "4.0.0"), 1),
        ((), (DROP,), "", ("defer", 451, "4.4.2"), 1),
    ],
)
async def test_outcomes(
    rcpt: tuple[str, ...],
    dots: tuple[str, ...],
    line: str,
    expected: tuple[str, int, str],
    messages: int,
) -> None:
    refused = {a: r for a, r in zip((A, B), rcpt, strict=False) if r}
    async with FakeHop(lmtp=True, rcpt=dict(refused), dots=dots) as hop, deliverer(hop, line) as p:
        assert summary(await p.hook_queue(a_mail(A, B))) == expected
        assert len(hop.messages) == messages


async def test_data_refused() -> None:
    async with FakeHop(lmtp=True, DATA="451 4.3.0 no") as hop, deliverer(hop) as plugin:
        assert summary(await plugin.hook_queue(a_mail(A, B))) == ("defer", 451, "4.3.0")
        assert summary(await plugin.hook_queue(a_mail(A))) == ("defer", 451, "4.3.0")
        assert not plugin._delivered


async def test_accept_names_the_refused_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeHop(lmtp=True, dots=(OK, NO)) as hop, deliverer(hop, "mixed=accept") as plugin:
        await plugin.hook_queue(a_mail(A, B))
    assert [r.levelname for r in caplog.records if B in r.getMessage()] == ["ERROR"]


@pytest.mark.parametrize(("keywords", "owed"), [(("DSN",), "none"), ((), "delivered")])
async def test_which_notice_is_left_to_us(keywords: tuple[str, ...], owed: str) -> None:
    """Also about those who have the message already."""
    async with (
        FakeHop(lmtp=True, keywords=keywords, dots=(OK, LATER, OK)) as hop,
        deliverer(hop) as plugin,
    ):
        assert not (await plugin.hook_queue(a_mail(A, B))).accepted
        tx = a_mail(A, B)
        assert (await plugin.hook_queue(tx)).accepted
        assert [recipient.success for recipient in tx.recipients] == [owed, owed]


# --- the next attempt -----------------------------------------------------------------------


async def test_next_attempt_reaches_only_the_rest() -> None:
    dots = (OK, LATER, LATER, LATER, OK, OK)
    async with FakeHop(lmtp=True, dots=dots) as hop, deliverer(hop) as plugin:
        assert not (await plugin.hook_queue(a_mail(A, B, C))).accepted
        assert not (await plugin.hook_queue(a_mail(A, B, C))).accepted
        assert (await plugin.hook_queue(a_mail(A, B, C))).accepted
        assert rcpts(hop) == [A, B, C, B, C, B]
        assert not plugin._delivered


async def test_next_attempt_after_all_have_it() -> None:
    async with FakeHop(lmtp=True, dots=(OK, LATER)) as hop, deliverer(hop) as plugin:
        assert not (await plugin.hook_queue(a_mail(A, B))).accepted
        assert (await plugin.hook_queue(a_mail(A))).accepted
        assert len(hop.messages) == 1


@pytest.mark.parametrize(("line", "accepted"), [("mixed=reject", False), ("mixed=accept", True)])
async def test_next_attempt_refused_for_good(line: str, accepted: bool) -> None:
    async with FakeHop(lmtp=True, dots=(OK, LATER, NO)) as hop, deliverer(hop, line) as plugin:
        assert not (await plugin.hook_queue(a_mail(A, B))).accepted
        verdict = await plugin.hook_queue(a_mail(A, B))
        assert verdict.accepted is accepted
        assert verdict.decision is not Decision.DEFER


@pytest.mark.parametrize("later", [(), (LATER,)], ids=["at once", "first for now"])
async def test_next_attempt_refuses_who_was_refused(later: tuple[str, ...]) -> None:
    """Those who have the message do not get it again, and nobody is told that they do not."""
    async with FakeHop(lmtp=True, dots=(OK, *later, NO)) as hop, deliverer(hop) as plugin:
        for _ in range(1 + len(later)):
            verdict = await plugin.hook_queue(a_mail(A, B))
            assert summary(verdict) == ("defer", 451, "4.0.0")
        again = a_mail(A)
        assert summary(await plugin.hook_verify_recipient(again, a_recipient(B))) == (
            "deny",
            550,
            "5.2.2",
        )
        assert await plugin.hook_verify_recipient(again, a_recipient(A)) is None
        assert (await plugin.hook_queue(again)).accepted
        assert rcpts(hop) == [A, B, *[B] * len(later)]


@pytest.mark.parametrize(
    "other",
    [
        a_transaction("else@example.com", A, B, message=MESSAGE),
        a_mail(A, B, message=MESSAGE.replace(b"<1@", b"<2@")),
        a_mail(A, B, message=MESSAGE + b"more\r\n"),
        a_mail(A.upper(), B),
    ],
)
async def test_another_message_is_not_taken_for_a_next_attempt(other: Transaction) -> None:
    async with FakeHop(lmtp=True, dots=(OK, LATER, OK, OK)) as hop, deliverer(hop) as plugin:
        assert not (await plugin.hook_queue(a_mail(A, B))).accepted
        assert (await plugin.hook_queue(other)).accepted
        assert len(rcpts(hop)) == 4


async def test_forgets_after_a_time() -> None:
    clock = FakeClock()
    async with (
        FakeHop(lmtp=True, dots=(OK, LATER, OK, OK)) as hop,
        deliverer(hop, "remember=1h", clock=clock) as plugin,
    ):
        assert not (await plugin.hook_queue(a_mail(A, B))).accepted
        clock.advance(3601)
        assert (await plugin.hook_queue(a_mail(A, B))).accepted
        assert rcpts(hop) == [A, B, A, B]


# --- the rest -------------------------------------------------------------------------------


async def test_store_is_down(tmp_path: Path) -> None:
    plugin = await a_plugin(Lmtp, f"unix:{tmp_path}/lmtp")
    assert summary(await plugin.hook_queue(a_mail(A))) == ("defer", 451, "4.4.1")
    await plugin.stop()


async def test_store_that_speaks_no_lmtp() -> None:
    async with FakeHop(LHLO="502 5.5.1 what?") as hop, deliverer(hop) as plugin:
        assert summary(await plugin.hook_queue(a_mail(A))) == ("defer", 451, "4.3.2")
        assert hop.verbs()[:1] == ["LHLO"]


@pytest.mark.parametrize(("line", "asked"), [("", 0), ("check-recipients=yes", 1)])
async def test_check_recipients(line: str, asked: int) -> None:
    async with FakeHop(lmtp=True, RCPT="550 5.1.1 no") as hop, deliverer(hop, line) as plugin:
        verdict = await plugin.hook_verify_recipient(a_transaction(), a_recipient(A))
        assert (verdict is None) is not bool(asked)
        assert hop.connections == asked


async def test_the_store_is_asked_who_it_knows() -> None:
    async with FakeHop(lmtp=True, rcpt={A: "550 5.1.1 no"}) as hop, deliverer(hop) as plugin:
        assert (await plugin.knows_recipient(a_recipient(A), None)).answer == "unknown"
        assert (await plugin.knows_recipient(a_recipient(B), None)).answer == "known"
        assert hop.verbs()[0] == "LHLO"


@pytest.mark.parametrize(
    "line", ["", "unix:", "unix:lmtp", "unix:/lmtp tls=require", "ho/st", "mx 0", "mx 24 xclient"]
)
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Lmtp, line)


@pytest.mark.parametrize(
    ("line", "target"),
    [("unix:/run/lmtp", "unix:/run/lmtp"), ("mx", "mx:24"), ("::1 2424", "[::1]:2424")],
)
async def test_arguments(line: str, target: str) -> None:
    plugin = await a_plugin(Lmtp, line)
    assert str(plugin._pool.target) == target
