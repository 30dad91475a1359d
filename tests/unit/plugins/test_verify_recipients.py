# SPDX-License-Identifier: MIT
"""verify_recipients: who is asked about whom, what is remembered, and when nobody is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import (
    KNOWN,
    ConfigError,
    Recipient,
    ReversePath,
    Transaction,
    Verification,
    unavailable,
    unknown,
    unsure,
)
from qpsmtpd.nexthop import prober
from qpsmtpd.plugins.queue.smtp_forward import SmtpForward
from qpsmtpd.plugins.verify_recipients import PAUSE, VerifyRecipients
from qpsmtpd.recipients import memory
from qpsmtpd.recipients.memory import RECENT
from qpsmtpd.testing import (
    FakeClock,
    FakeStore,
    Serving,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    serve,
    services,
)
from tests.unit.client import Client
from tests.unit.nexthop.fake import FakeHop
from tests.unit.store import stores

MAIL = ("EHLO client.example", "MAIL FROM:<a@client.example>")
RCPT = "RCPT TO:<{}@example.test>".format
NO = "550 5.1.1 No such user here"


class FakeMailSystem:
    """A plugin that delivers: what it says about whom, and what it was asked."""

    def __init__(self, answers: Mapping[str, Verification | None], name: str = "queue") -> None:
        self.name = name
        self.fingerprint = name
        self.can_hold = False
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.senders: list[ReversePath] = []
        self.proceed = asyncio.Event()
        self.proceed.set()

    def can_be_asked(self) -> bool:
        return True

    async def knows_recipient(
        self, recipient: Recipient, sender: ReversePath
    ) -> Verification | None:
        self.asked.append(str(recipient))
        self.senders.append(sender)
        await self.proceed.wait()
        return self.answers.get(str(recipient), KNOWN)


USER, NOBODY = "user@example.test", "nobody@example.test"
USUAL = {NOBODY: unknown("5.1.1", "550 no")}


async def verifier(
    *systems: FakeMailSystem, line: str = "", store: FakeStore | None = None
) -> VerifyRecipients:
    clock = store.clock if store else FakeClock()
    lent = services(config={"rcpthosts": ["example.test"]}, store=store, clock=clock)
    lent.deliverers.extend(systems)
    return await a_plugin(VerifyRecipients, line, name="verify_recipients", services=lent)


async def reply(
    plugin: VerifyRecipients, address: str, tx: Transaction | None = None, **client: Any
) -> str:
    """What the client gets: code, status and text; "" for no opinion."""
    tx = tx or a_transaction(session=a_session(ehlo="client.example", **client))
    verdict = await plugin.hook_verify_recipient(tx, a_recipient(address))
    return "" if verdict is None else f"{verdict.code} {verdict.status} {verdict.text}"


# --- answers --------------------------------------------------------------------------------


async def test_who_does_not_exist_is_refused() -> None:
    system = FakeMailSystem(USUAL)
    plugin = await verifier(system)
    assert await reply(plugin, NOBODY) == NO
    assert await reply(plugin, USER) == ""
    assert system.senders == [None, None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (KNOWN, ""),
        (unsure("450 greylisted"), ""),
        (unavailable("connection refused"), ""),
        (None, ""),
        (unknown("5.1.6"), "550 5.1.6 Mailbox has moved"),
        (unknown("5.2.1"), "550 5.2.1 Mailbox disabled"),
        (unknown("5.2.2"), "550 5.2.2 Mailbox full"),
        (unknown("5.1.10"), "550 5.1.10 No such user here"),
    ],
)
async def test_answers(answer: Verification | None, expected: str) -> None:
    plugin = await verifier(FakeMailSystem({USER: answer}))
    assert await reply(plugin, USER) == expected


async def test_the_first_that_would_take_it_is_asked() -> None:
    none = FakeMailSystem({NOBODY: None}, "filter")
    first, second = FakeMailSystem(USUAL, "first"), FakeMailSystem({}, "second")
    plugin = await verifier(none, first, second)
    assert await reply(plugin, NOBODY) == NO
    assert (none.asked, first.asked, second.asked) == ([NOBODY], [NOBODY], [])


async def test_nobody_to_ask() -> None:
    class Mute(FakeMailSystem):
        def can_be_asked(self) -> bool:
            return False

    mute, store = Mute(USUAL), FakeStore(down=True)
    assert await reply(await verifier(store=store), NOBODY) == ""
    assert await reply(await verifier(mute, store=store), NOBODY) == ""
    assert mute.asked == []


async def test_a_mail_system_that_asks_us_is_not_asked() -> None:
    system = FakeMailSystem(USUAL)
    tx = a_transaction()
    tx.session.hosted = True
    assert await reply(await verifier(system), NOBODY, tx) == ""
    assert system.asked == []


async def test_another_sender() -> None:
    system = FakeMailSystem({})
    await reply(await verifier(system, line="sender=p@mx.example"), USER)
    assert [str(sender) for sender in system.senders] == ["p@mx.example"]


@pytest.mark.parametrize("line", ["sender=nobody", "seconds=0", "questions=0", "sender=<>"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await verifier(line=line)


# --- who is asked about ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "relay_client", "asked"),
    [
        (NOBODY, True, True),
        ("nobody@elsewhere.example", True, False),
        ("nobody@elsewhere.example", False, True),
        ("postmaster", False, False),
    ],
)
async def test_other_domains_of_relay_clients(
    address: str, relay_client: bool, asked: bool
) -> None:
    system = FakeMailSystem({address: unknown()})
    plugin = await verifier(system)
    assert bool(await reply(plugin, address, relay_client=relay_client)) is asked
    assert bool(system.asked) is asked


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "lasts"), [(USER, 3600 + RECENT), (NOBODY, 900)])
async def test_what_is_known_is_remembered(address: str, lasts: float) -> None:
    clock, system = FakeClock(), FakeMailSystem(USUAL)
    plugin = await verifier(system, store=FakeStore(clock))
    first = await reply(plugin, address)
    clock.advance(min(lasts, 3600) - 1)
    assert await reply(plugin, address) == first
    assert len(system.asked) == 1
    clock.advance(lasts - min(lasts, 3600) + 1)
    assert await reply(plugin, address) == first
    assert len(system.asked) == 2


async def test_the_memory_is_shared_and_has_one_spelling_of_domains() -> None:
    store, system = FakeStore(), FakeMailSystem({})
    await reply(await verifier(system, store=store), "u@bücher.example")
    await reply(await verifier(system, store=store), "u@XN--BCHER-KVA.example")
    assert len(system.asked) == 1


async def test_the_case_of_local_parts_counts() -> None:
    system = FakeMailSystem({"User@example.test": unknown()})
    plugin = await verifier(system)
    assert await reply(plugin, USER) == ""
    assert await reply(plugin, "User@example.test") == NO


@pytest.mark.parametrize("answer", [unsure("later"), unavailable("down"), None])
async def test_what_is_not_known_is_not_remembered(answer: Verification | None) -> None:
    clock, system = FakeClock(), FakeMailSystem({NOBODY: answer})
    plugin = await verifier(system, store=FakeStore(clock))
    assert await reply(plugin, NOBODY) == ""
    clock.advance(PAUSE)
    system.answers[NOBODY] = unknown()
    assert await reply(plugin, NOBODY) == NO


async def test_another_mail_system_has_a_memory_of_its_own() -> None:
    store = FakeStore()
    assert await reply(await verifier(FakeMailSystem(USUAL), store=store), NOBODY) == NO
    other = await verifier(FakeMailSystem({}, "other"), store=store)
    assert await reply(other, NOBODY) == ""


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_ENTRIES", 2)
    system = FakeMailSystem({f"{n}@example.test": unknown() for n in range(3)})
    plugin = await verifier(system)
    for _ in range(2):
        for number in range(3):
            assert await reply(plugin, f"{number}@example.test") == NO
    assert len(system.asked) == 4
    await reply(plugin, USER)
    await reply(plugin, USER)
    assert len(system.asked) == 5


async def test_a_worker_knows_the_recent_ones_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_RECENT", 2)
    clock, system = FakeClock(), FakeMailSystem(USUAL)
    plugin = await verifier(system, store=FakeStore(clock, down=True))
    for address in ("1@example.test", "2@example.test", "2@example.test", "1@example.test"):
        assert await reply(plugin, address) == ""
    assert len(system.asked) == 2
    await reply(plugin, "3@example.test")
    await reply(plugin, "1@example.test")
    assert system.asked[2:] == ["3@example.test", "1@example.test"]
    clock.advance(RECENT)
    await reply(plugin, "3@example.test")
    assert len(system.asked) == 5


async def test_without_a_store_everything_is_asked() -> None:
    system = FakeMailSystem(USUAL)
    plugin = await verifier(system, store=FakeStore(down=True))
    for _ in range(2):
        assert await reply(plugin, NOBODY) == NO
    assert len(system.asked) == 2


# --- budget ---------------------------------------------------------------------------------


async def test_questions_of_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    system = FakeMailSystem({f"{n}@example.test": unknown() for n in range(4)})
    plugin = await verifier(system, line="questions=2")
    tx = a_transaction()
    answers = [await reply(plugin, f"{n}@example.test", tx) for n in range(4)]
    assert answers == [NO, NO, "", ""]
    assert await reply(plugin, "0@example.test", tx) == NO
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "too many questions for one connection ip=192.0.2.1"
    ]
    assert await reply(plugin, "3@example.test") == NO


async def test_who_is_slow_refuses_nobody() -> None:
    system = FakeMailSystem(USUAL)
    system.proceed.clear()
    plugin = await verifier(system, line="seconds=0.01")
    assert await reply(plugin, NOBODY) == ""


async def test_a_pause_while_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    clock, system = FakeClock(), FakeMailSystem({NOBODY: unavailable("connection refused")})
    plugin = await verifier(system, store=FakeStore(clock))
    for _ in range(3):
        assert await reply(plugin, NOBODY) == ""
    assert len(system.asked) == 1
    assert "not verified for 30s: connection refused" in caplog.text
    clock.advance(PAUSE)
    await reply(plugin, NOBODY)
    assert len(system.asked) == 2


async def test_the_same_question_is_asked_once() -> None:
    system = FakeMailSystem(USUAL)
    system.proceed.clear()
    plugin = await verifier(system)
    asking = [asyncio.create_task(reply(plugin, NOBODY)) for _ in range(5)]
    while not system.asked:
        await asyncio.sleep(0)
    asking[0].cancel()
    system.proceed.set()
    assert await asyncio.gather(*asking[1:]) == [NO] * 4
    assert system.asked == [NOBODY]


async def test_stopping_leaves_no_question() -> None:
    system = FakeMailSystem(USUAL)
    system.proceed.clear()
    plugin = await verifier(system)
    asking = asyncio.create_task(reply(plugin, NOBODY))
    while not system.asked:
        await asyncio.sleep(0)
    await plugin.stop()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_fault_of_the_mail_systems_plugin_is_raised() -> None:
    class Broken(FakeMailSystem):
        async def knows_recipient(self, *_args: Any) -> Verification | None:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError):
        await reply(await verifier(Broken({})), NOBODY)


# --- circles --------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("client_ip", "expected"),
    [
        ("127.0.0.1", "451 4.4.6 Recipients are verified in a circle"),
        ("198.51.100.25", "451 4.4.6 Recipients are verified in a circle"),  # our own address
        ("192.0.2.7", ""),
    ],
)
async def test_a_question_about_what_we_are_asking(
    down: bool, client_ip: str, expected: str
) -> None:
    system = FakeMailSystem(USUAL)
    system.proceed.clear()
    plugin = await verifier(system, store=FakeStore(down=down))
    asking = asyncio.create_task(reply(plugin, NOBODY))
    while not system.asked:
        await asyncio.sleep(0)
    probe = a_transaction("", session=a_session(client_ip, ehlo="mx.example"))
    assert await reply(plugin, NOBODY, probe) == expected
    system.proceed.set()
    assert await asking == NO
    assert len(system.asked) == 1
    assert await reply(plugin, NOBODY, probe) == NO


async def test_another_worker_sees_that_we_are_asking() -> None:
    store, system = FakeStore(), FakeMailSystem(USUAL)
    system.proceed.clear()
    asking = asyncio.create_task(reply(await verifier(system, store=store), NOBODY))
    while not system.asked:
        await asyncio.sleep(0)
    probe = a_transaction("", session=a_session("127.0.0.1", ehlo="mx.example"))
    other = await verifier(system, store=store)
    assert (await reply(other, NOBODY, probe)).startswith("451 4.4.6")
    system.proceed.set()
    await asking


# --- with real daemons ----------------------------------------------------------------------


def forwarding(port: int = 1) -> dict[str, list[str]]:
    lines = ["rcpt_ok", f"queue/smtp-forward 127.0.0.1 {port}", "verify_recipients"]
    return {"plugins": lines}


def hand_over_to(serving: Serving, port: int) -> None:
    plugin = serving.server.snapshot.chain.plugins[1].plugin
    assert isinstance(plugin, SmtpForward)
    pool = next(iter(plugin._hops.values())).prober.pool
    pool.target = replace(pool.target, port=port)


async def ask(serving: Serving, *users: str) -> list[int]:
    client = await Client.of(serving)
    codes = await client.commands(*MAIL, *map(RCPT, users))
    await client.close()
    return codes[len(MAIL) :]


async def test_the_good_ones_of_a_message_get_it() -> None:
    async with FakeHop(rcpt={NOBODY: "550 5.1.1 no"}) as hop, serve(forwarding(hop.port)) as one:
        client = await Client.of(one)
        assert await client.commands(*MAIL, *map(RCPT, ("user", "nobody", "other")), "DATA") == [
            *(250, 250),
            *(250, 550, 250),
            354,
        ]
        assert (await client.deliver()).startswith("250 ")
        await client.close()
        assert len(hop.messages) == 1


async def test_a_daemon_that_hands_over_to_itself(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "IDLE", 0.0)
    async with serve(forwarding()) as one:
        hand_over_to(one, one.port)
        assert await ask(one, "user", "nobody") == [250, 250]
    assert "does delivery lead back to qpsmtpd? ip=127.0.0.1" in caplog.text


async def test_two_daemons_that_hand_over_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "IDLE", 0.0)
    async with serve(forwarding()) as one, serve(forwarding()) as other:
        hand_over_to(one, other.port)
        hand_over_to(other, one.port)
        assert await ask(one, "user", "nobody") == [250, 250]


# --- a clock that was wrong -------------------------------------------------------------------

YEARS = 73 * 365 * 86400.0


@pytest.mark.parametrize("wrong", [YEARS, -YEARS], ids=["ahead", "behind"])
@pytest.mark.parametrize("kind", ["fake", "sqlite"])  # redis: tests/integration
async def test_nobody_is_unknown_for_decades(kind: str, wrong: float, tmp_path: Path) -> None:
    """A user who is new is known at last; and what is known is not forgotten all at once."""
    async with getattr(stores, kind)(tmp_path) as subject:
        lent = services(config={"rcpthosts": ["example.test"]}, store=subject.store)
        system = FakeMailSystem(USUAL)
        lent.deliverers.append(system)
        line = f"negative {1 if kind == 'redis' else 60}s"
        plugin = await a_plugin(VerifyRecipients, line, name="verify_recipients", services=lent)
        subject.set_clock(wrong)
        assert await reply(plugin, NOBODY) == NO
        subject.set_clock(-wrong)
        system.answers.clear()
        # A server of Redis forgets what was to end before the time that it is now.
        if (kind, wrong) != ("redis", -YEARS):
            assert await reply(plugin, NOBODY) == NO

        async def is_known() -> bool:
            return await reply(plugin, NOBODY) == ""

        await subject.until(is_known)
