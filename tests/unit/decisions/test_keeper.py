# SPDX-License-Identifier: MIT
import asyncio

import pytest

from qpsmtpd.decisions import keeper as module
from qpsmtpd.decisions.book import FULL, Book
from qpsmtpd.decisions.decision import MOST_RESULTS, Decision
from qpsmtpd.decisions.keeper import MANY, MOST, TOGETHER, Keeper, Limits
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.mail.account import of_message, of_refusal
from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import deny
from qpsmtpd.testing import FakeClock, FakeStore, a_session, a_transaction

LIMITS = Limits(1.0, 1 << 20)


class Site:
    """A keeper, and what it has written."""

    def __init__(self, privacy: Privacy | None = None, limits: Limits = LIMITS) -> None:
        self.clock = FakeClock()
        self.store = FakeStore(self.clock)
        self.book = Book(self.store)
        self.keeper = Keeper(self.store, self.clock, limits, privacy or Privacy())

    async def kept(self) -> list[Decision]:
        return [decision async for decision in self.book.oldest_first()]


def refuse(keeper: Keeper, about: str = "user@example.test") -> None:
    keeper.keep(of_refusal(a_session(helo="h"), "rcpt", "badrcptto", 550, "550 5.1.1 no", about))


async def test_a_message_is_kept_with_what_plugins_said() -> None:
    site = Site()
    tx = a_transaction("from@a.example", "to@example.test", message="Subject: secret\n\nbody\n")
    tx.session.trail.add(Answer("dnsbl", "connect", deny("listed"), "shadow", 0.25))
    tx.trail.decide(Answer("dmarc", "data_post", deny("policy", reason="p=reject")))
    site.keeper.keep(of_message(tx, 550, "550 5.7.1 policy", "<1@a.example>", 1.5))
    await site.keeper.close()
    (kept,) = await site.kept()
    assert (kept.outcome, kept.hook, kept.plugin) == ("refused", "message", "dmarc")
    assert (kept.sender, kept.recipients) == ("from@a.example", ("to@example.test",))
    assert (kept.reason, kept.reply, kept.seconds) == ("p=reject", "550 5.7.1 policy", 1.5)
    assert [(said.plugin, said.outcome) for said in kept.trail] == [
        ("dnsbl", "shadow"),
        ("dmarc", "decided"),
    ]
    assert "secret" not in kept.encode()


async def test_refusals_are_kept() -> None:
    site = Site()
    refuse(site.keeper)
    await site.keeper.close()
    (kept,) = await site.kept()
    assert (kept.hook, kept.plugin, kept.about) == ("rcpt", "badrcptto", "user@example.test")
    assert kept.results == ""


async def test_what_was_found_is_kept_in_words() -> None:
    site = Site()
    tx = a_transaction("from@a.example", "to@example.test", message="Subject: s\n\nbody\n")
    tx.session.auth_results.append(AuthResult("spf", "pass", properties={"smtp.helo": "a.example"}))
    refused = a_session()
    refused.whitelisted_host, refused.karma_history = "192.0.2.7", -3
    tx.whitelisted_sender = True
    tx.auth_results += [AuthResult("dkim", "pass"), AuthResult("dkim", "pass", "again")]
    tx.auth_results += [AuthResult("x", f"r{number}") for number in range(99)]
    site.keeper.keep(of_message(tx, 250, "250 2.6.0 queued", "", 1.5))
    site.keeper.keep(of_refusal(refused, "helo", "helo", 550, "550 5.7.1 no", "x"))
    await site.keeper.close()
    message, refusal = await site.kept()
    assert message.results.split()[:4] == ["allowlist=sender", "spf=pass", "dkim=pass", "x=r0"]
    assert len(message.results.split()) == MOST_RESULTS
    assert refusal.results == "allowlist=client karma=-3"


async def test_what_is_kept_is_what_was_so_then() -> None:
    """The text is composed later, when the session has gone on."""
    site = Site()
    tx = a_transaction("from@a.example", "to@example.test", message="Subject: s\n\nbody\n")
    session = tx.session
    session.hello_host = "before"
    session.auth_results.append(AuthResult("spf", "pass"))
    session.trail.add(Answer("early", "connect", deny("x"), "shadow"))
    site.keeper.keep(of_message(tx, 250, "250 2.6.0 queued", "", 1.5))
    site.keeper.keep(of_refusal(session, "rcpt", "core", 550, "550 5.1.1 no", "x"))
    site.clock.advance(1.0)
    session.hello_host, session.auth_user = "after", "user"
    session.auth_results.append(AuthResult("spf", "fail"))
    session.trail.add(Answer("late", "connect", deny("x"), "shadow"))
    tx.trail.decide(Answer("late", "data_post", deny("x")))
    await site.keeper.close()
    for kept in await site.kept():
        assert (kept.helo, kept.user, kept.results) == ("before", "", "spf=pass")
        assert [said.plugin for said in kept.trail] == ["early"]
        assert kept.time == site.clock.now() - 1.0


async def test_it_is_written_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELAY", 0.0)
    site = Site()
    async with asyncio.timeout(10):
        for count in range(1, 4):
            refuse(site.keeper)
            while len(await site.kept()) < count:
                await asyncio.sleep(0)
    assert (await site.book.state()).end == 1


async def test_many_are_written_in_chunks() -> None:
    site = Site()
    for _ in range(2 * MANY + 1):
        refuse(site.keeper)
    await site.keeper.close()
    assert len(await site.kept()) == 2 * MANY + 1
    assert (await site.book.state()).end == 3
    assert MANY > FULL


async def test_nothing_waits_for_a_store_that_is_down_and_memory_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELAY", 0.0)
    site = Site()
    site.store.down = True
    for _ in range(MOST + 7):
        refuse(site.keeper)
    assert site.keeper._count == MOST
    async with asyncio.timeout(10):
        while site.keeper._count or site.keeper._writing:
            await asyncio.sleep(0)
        assert not caplog.records
        site.store.down = False
        refuse(site.keeper)
        while not await site.kept():
            await asyncio.sleep(0)
    await site.keeper.close()
    assert f"decisions were not kept, as the store was down count={MOST + 7}" in caplog.text


async def test_a_fault_of_ours_costs_decisions_and_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site()
    with monkeypatch.context() as broken:
        broken.setattr(Book, "begin", None)
        refuse(site.keeper)
        await site.keeper.close()
    assert "fault: decisions are not kept" in caplog.text


async def test_a_text_that_cannot_be_composed_costs_those_with_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site()
    with monkeypatch.context() as broken:
        broken.setattr(module, "said_in", None)
        for _ in range(TOGETHER):
            refuse(site.keeper)
    refuse(site.keeper)
    await site.keeper._write()
    assert "fault: decisions are not kept" in caplog.text
    assert f"count={TOGETHER}" in caplog.text
    assert len(await site.kept()) == 1


async def test_addresses_are_hashed_with_the_secret_of_the_store() -> None:
    site = Site(Privacy(addresses="hashed"))
    refuse(site.keeper)
    await site.keeper.close()
    (kept,) = await site.kept()
    assert kept.about.endswith("@example.test")
    assert "user@" not in kept.about


async def test_the_store_holds_no_more_than_the_limit() -> None:
    site = Site(limits=Limits(1.0, 20_000))
    for number in range(100):
        for each in range(FULL):
            refuse(site.keeper, f"{hash((number, each)):x}@example.test")
        await site.keeper._write()
    kept = await site.kept()
    sizes = [len(value) async for _, value in site.store.scoped("decisions kept").items()]
    assert FULL < len(kept) < 100 * FULL
    assert sum(sizes) < 30_000
    await site.keeper.close()


async def test_text_of_clients_is_cut() -> None:
    site = Site()
    session = a_session(helo="h" * 2000)
    site.keeper.keep(of_refusal(session, "rcpt", "p", 550, "x" * 999, "y" * 999))
    await site.keeper.close()
    (kept,) = await site.kept()
    assert max(map(len, (kept.helo, kept.reply, kept.about))) == 200


async def test_a_quiet_day_is_found_hour_by_hour() -> None:
    """A chunk has decisions of ten minutes, so that readers know where to begin."""
    site = Site()
    begin = site.clock.now()
    for _ in range(4):
        refuse(site.keeper)
        await site.keeper._write()
        site.clock.advance(4 * 3600)
    await site.keeper.close()
    for hours, count in ((0, 4), (2, 3), (10, 1)):
        since = begin + hours * 3600
        assert len([each async for each in site.book.oldest_first(since)]) == count
    assert (await site.book.state()).end == 4
