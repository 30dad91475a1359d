# SPDX-License-Identifier: MIT
"""karma: what is remembered of clients, and who is turned away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qpsmtpd.api import (
    Answer,
    ClientRecord,
    ConfigError,
    Decision,
    Session,
    StoreError,
    Transaction,
    Verdict,
    accept,
    client_key,
    defer,
    deny,
    parse_ip,
)
from qpsmtpd.plugins.karma import RECORD, Karma
from qpsmtpd.testing import (
    FakeClock,
    FakeStore,
    FakeSystem,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    findings_of,
    services,
)
from tests.unit.store.stores import Subject
from tests.unit.store.test_contract import of_every_kind

IP = "192.0.2.9"
DAY = 86400.0


class Site:
    """A plugin, its clock, and its clients."""

    def __init__(self, plugin: Karma, clock: FakeClock) -> None:
        self.plugin = plugin
        self.clock = clock

    async def arrive(self, ip: str = IP) -> tuple[Session, Verdict | None]:
        session = a_session(ip, ehlo="client.example")
        assert await self.plugin.hook_pre_connection(session) is None
        return session, await self.plugin.hook_connect(session)

    async def visit(self, points: int, ip: str = IP) -> ClientRecord:
        """A connection that ends with so many points."""
        session, _ = await self.arrive(ip)
        session.adjust_karma(points)
        await self.plugin.hook_disconnect(session)
        return await self.record(ip)

    async def record(self, ip: str = IP) -> ClientRecord:
        return await self.plugin._records.get(client_key(parse_ip(ip)))

    async def is_refused(self, ip: str = IP) -> bool:
        _, verdict = await self.arrive(ip)
        return verdict is not None


async def a_site(line: str = "reject 1", **lent: Any) -> Site:
    clock = lent.setdefault("clock", FakeClock())
    return Site(await a_plugin(Karma, line, **lent), clock)


# --- records ----------------------------------------------------------------------------------


async def test_a_connection_is_nice_or_naughty_by_its_points() -> None:
    site = await a_site()
    for points, naughty, nice, connects in (
        (3, 0, 1, 1),
        (2, 0, 1, 2),
        (-2, 0, 1, 3),
        (0, 0, 1, 3),
        (-3, 1, 1, 4),
        (9, 1, 2, 5),
        (-9, 2, 2, 6),
    ):
        record = await site.visit(points)
        assert (record.naughty, record.nice, record.connects) == (naughty, nice, connects)
    session, _ = await site.arrive()
    assert session.karma_history == 0
    assert session.notes[RECORD] == record


async def test_the_points_that_count_are_an_option() -> None:
    site = await a_site("strikes 5")
    assert (await site.visit(-4)).naughty == 0
    assert (await site.visit(4)).nice == 0
    assert (await site.visit(-5)).naughty == 1
    assert (await site.visit(5)).nice == 1


async def test_a_rejection_that_was_left_to_naughty_is_naughty() -> None:
    site = await a_site()
    session, _ = await site.arrive()
    session.deferred_rejects.append("listed")
    await site.plugin.hook_disconnect(session)
    assert (await site.record()).naughty == 1


async def test_a_stranger_has_no_history() -> None:
    session, verdict = await (await a_site()).arrive()
    assert (session.karma_history, session.karma, verdict) == (0, 0, None)


def relay_client() -> Session:
    return a_session(IP, relay_client=True)


def allowed() -> Session:
    session = a_session(IP)
    session.whitelisted_host = "allowed"
    return session


def local() -> Session:
    return a_session("127.0.0.1")


@pytest.mark.parametrize("client", [relay_client, allowed, local])
async def test_who_has_no_karma(client: Any) -> None:
    site = await a_site()
    await site.visit(-3)
    session = client()
    assert await site.plugin.hook_pre_connection(session) is None
    assert await site.plugin.hook_connect(session) is None
    session.adjust_karma(-9)
    tx = a_transaction("me@client.example", "user@example.test", session=session)
    assert await site.plugin.hook_rcpt(tx, a_recipient()) is None
    assert await site.plugin.hook_data(tx) is None
    await site.plugin.hook_disconnect(session)
    assert (await site.record()).connects == 1


async def test_a_record_ends() -> None:
    site = await a_site()
    assert (await site.visit(3)).nice == 1
    site.clock.advance(32 * DAY)
    assert (await site.record()) == ClientRecord()


# --- the penalty box --------------------------------------------------------------------------


async def test_a_naughty_client_is_turned_away_for_a_day() -> None:
    site = await a_site()
    await site.visit(-3)
    _, verdict = await site.arrive()
    assert verdict == deny(
        "You were naughty. You cannot connect for 1.00 more days.", status="5.7.1", disconnect=True
    )
    site.clock.advance(DAY / 2)
    _, verdict = await site.arrive()
    assert verdict is not None
    assert "0.50 more days" in verdict.text
    site.clock.advance(DAY / 2)
    assert not await site.is_refused()


async def test_being_turned_away_is_not_naughty_again() -> None:
    site = await a_site("reject naughty")
    await site.visit(-3)
    session, verdict = await site.arrive()
    assert verdict is None
    assert session.deferred_rejects
    await site.plugin.hook_disconnect(session)
    record = await site.record()
    assert (record.naughty, record.connects) == (1, 2)
    site.clock.advance(DAY)
    assert not (await site.arrive())[0].deferred_rejects


@pytest.mark.parametrize(
    ("negative", "nice", "naughty", "punished"),
    [(1, 0, 1, True), (1, 1, 1, False), (2, 1, 2, False), (2, 1, 3, True)],
)
async def test_how_bad_a_history_has_to_be(
    negative: int, nice: int, naughty: int, punished: bool
) -> None:
    site = await a_site(f"reject 1 negative {negative}")
    for _ in range(nice):
        await site.visit(3)
    for number in range(naughty):
        assert number == 0 or not await site.is_refused()
        await site.visit(-3)
    assert await site.is_refused() is punished


async def test_who_was_never_nice_stays_longer() -> None:
    site = await a_site()
    for _ in range(6):
        await site.visit(-3)
        site.clock.advance(DAY)
    assert await site.is_refused()
    site.clock.advance(6 * DAY - 1)
    assert await site.is_refused()
    site.clock.advance(1)
    assert not await site.is_refused()


async def test_there_is_an_end_to_it() -> None:
    site = await a_site("reject 1 history_days 3000")
    key = client_key(parse_ip(IP))
    await site.plugin._records.change(key, lambda _: ClientRecord(naughty=500))
    await site.visit(-3)
    site.clock.advance(31 * DAY - 1)
    assert await site.is_refused()
    site.clock.advance(1)
    assert not await site.is_refused()


async def test_days_are_an_option() -> None:
    site = await a_site("reject 1 penalty_days 0.5")
    await site.visit(-3)
    site.clock.advance(DAY / 2)
    assert not await site.is_refused()
    site = await a_site("reject 1 penalty_days 0")
    await site.visit(-3)
    assert not await site.is_refused()


async def test_a_clock_that_is_set_right_lets_nobody_out() -> None:
    site = await a_site()
    await site.visit(-3)
    for seconds in (-40 * 365 * DAY, 80 * 365 * DAY):
        site.clock.jump(seconds)
        _, verdict = await site.arrive()
        assert verdict is not None
        assert verdict.text == "You were naughty. You cannot connect now."


async def test_reject_0_only_logs() -> None:
    site = await a_site("reject 0")
    await site.visit(-3)
    session, verdict = await site.arrive()
    assert verdict is None
    assert not session.deferred_rejects


async def test_a_good_history_earns_a_point() -> None:
    site = await a_site()
    for expected in [0] * 11 + [1]:
        session, _ = await site.arrive()
        assert session.karma == expected
        await site.visit(3)


# --- during the session -----------------------------------------------------------------------


async def with_points(site: Site, points: int, *recipients: str) -> Transaction:
    session, _ = await site.arrive()
    session.adjust_karma(points)
    return a_transaction("me@client.example", *recipients, session=session)


@pytest.mark.parametrize(
    ("line", "points", "history", "before", "refused"),
    [
        ("", 0, 0, 0, False),
        ("", 0, 0, 1, True),
        ("", 1, 0, 1, False),
        ("", 0, 1, 1, False),
        ("", -1, 0, 1, True),
        ("", 0, -1, 1, True),
        ("recipients 3", 0, 0, 2, False),
        ("recipients 3", 0, 0, 3, True),
        ("recipients 0", -2, 0, 9, False),
        ("reject 0", 0, 0, 1, False),
    ],
)
async def test_recipients(line: str, points: int, history: int, before: int, refused: bool) -> None:
    site = await a_site(line)
    recipients = [f"user{number}@example.test" for number in range(before)]
    tx = await with_points(site, points, *recipients)
    tx.session.karma_history = history
    verdict = await site.plugin.hook_rcpt(tx, a_recipient("next@example.test"))
    wanted = defer("Too many recipients", status="4.5.3", code=452)
    assert verdict == (wanted if refused else None)


@pytest.mark.parametrize(("points", "refused"), [(-4, False), (-5, True)])
async def test_very_bad_karma(points: int, refused: bool) -> None:
    site = await a_site()
    tx = await with_points(site, points, "user@example.test")
    wanted = deny("Very bad karma", status="5.7.1", disconnect=True) if refused else None
    assert await site.plugin.hook_data(tx) == wanted
    assert await site.plugin.hook_data_post(tx) == wanted


async def test_who_is_to_be_refused_anyway_is_left_alone() -> None:
    site = await a_site()
    tx = await with_points(site, -9, "user@example.test")
    tx.session.deferred_rejects.append("listed")
    assert await site.plugin.hook_data(tx) is None


@pytest.mark.parametrize(
    ("argument", "points"),
    [("FROM:<a@b>", 0), ("from:<>", 0), ("FROM: <a@b>", -2), ("FROM:a@b", -2), ("", -2)],
)
async def test_the_form_of_mail(argument: str, points: int) -> None:
    site = await a_site()
    session, _ = await site.arrive()
    assert await site.plugin.hook_mail_parse(session, argument) is None
    assert session.karma == points


async def test_a_careless_client_loses_points_once() -> None:
    site = await a_site()
    session, _ = await site.arrive()
    await site.plugin.hook_mail_parse(session, "FROM: <a@b>")
    await site.plugin.hook_rcpt_parse(session, "TO: <a@b>")
    assert session.karma == -2
    session, _ = await site.arrive()
    await site.plugin.hook_rcpt_parse(session, "TO:<a@b>")
    await site.plugin.hook_rcpt_parse(session, "TO: <a@b>")
    assert session.karma == -2


@pytest.mark.parametrize(
    ("sender", "points"),
    [("a@x.pw", -4), ("a@pw", -4), ("a@x.EXAMPLE", 2), ("a@x.org", 0), ("", 0)],
)
async def test_top_level_domains(sender: str, points: int) -> None:
    site = await a_site(config={"karma_tlds": ["pw:-4", ".example: 2"]})
    session, _ = await site.arrive()
    tx = a_transaction(sender, session=session)
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None
    assert session.karma == points


# --- awards -----------------------------------------------------------------------------------

AWARDS = {
    "karma_awards": [
        "dnsbl refuse -1",
        "virus/clamdscan deny -5",
        "rate_limit defer -2",
        "whitelist accept +4",
        "core deny -3 auth",
    ]
}


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        (Answer("dnsbl", "connect", deny()), -1),
        (Answer("dnsbl:2", "connect", defer()), -1),
        (Answer("dnsbl", "connect", deny(), "naughty"), -1),
        (Answer("dnsbl", "connect", deny(), "tolerated"), -1),
        (Answer("dnsbl", "connect", deny(), "shadow"), 0),
        (Answer("dnsbl", "connect", deny(), "tag"), 0),
        (Answer("dnsbl", "connect", defer(), "fault"), 0),
        (Answer("dnsbl", "connect", None, "passed"), 0),
        (Answer("virus/clamdscan", "data_post", deny()), -5),
        (Answer("virus/clamdscan", "data_post", defer()), 0),
        (Answer("rate_limit", "rcpt", defer()), -2),
        (Answer("rate_limit", "rcpt", deny()), 0),
        (Answer("whitelist", "mail", accept()), 4),
        (Answer("core", "auth", deny()), -3),
        (Answer("core", "rcpt", deny()), 0),
        (Answer("other", "rcpt", deny()), 0),
    ],
)
async def test_awards(answer: Answer, points: int) -> None:
    site = await a_site(config=AWARDS)
    session, _ = await site.arrive()
    session.trail.add(answer)
    await site.plugin.hook_disconnect(session)
    assert session.karma == points


async def test_each_answer_counts_once() -> None:
    site = await a_site("recipients 0", config=AWARDS)
    session, _ = await site.arrive()
    session.trail.add(Answer("dnsbl", "connect", deny(), "naughty"))
    for number in range(2):
        tx = a_transaction("me@client.example", session=session)
        tx.trail.add(Answer("rate_limit", "rcpt", defer()))
        await site.plugin.hook_rcpt(tx, a_recipient())
        assert session.karma == -3 - 4 * number
        tx.trail.add(Answer("rate_limit", "rcpt", defer()))
        await site.plugin.hook_data(tx)
        await site.plugin.hook_reset_transaction(tx)
        session.transaction = None
        assert session.karma == -5 - 4 * number
    await site.plugin.hook_disconnect(session)
    assert session.karma == -9
    assert (await site.record()).naughty == 1


@pytest.mark.parametrize(
    ("file", "line", "problem"),
    [
        ("karma_awards", "dnsbl -1", "must be PLUGIN accept|deny|defer|refuse POINTS [HOOK]"),
        ("karma_awards", "dnsbl refused -1", "must be PLUGIN"),
        ("karma_awards", "dnsbl deny many", "must be PLUGIN"),
        ("karma_awards", "dnsbl deny -1 rcpt data", "must be PLUGIN"),
        ("karma_tlds", "pw", "must be TLD:POINTS"),
        ("karma_tlds", "pw:bad", "must be TLD:POINTS"),
        ("karma_tlds", ":-3", "must be TLD:POINTS"),
    ],
)
async def test_files_that_are_wrong(file: str, line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_site(config={file: [line]})
    assert caught.value.where == f"{file}:1"
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reject"),
    [("", "naughty"), ("reject connect", "1"), ("reject zombie", "naughty"), ("reject 0", "0")],
)
async def test_old_forms(line: str, reject: str) -> None:
    site = await a_site(f"db_dir /var/lib penalty_box 2 nfslock 1 {line}")
    assert site.plugin.options.reject == reject
    assert site.plugin.options.penalty_days == 2


# --- the store --------------------------------------------------------------------------------


async def test_while_the_store_is_down_nobody_has_a_history() -> None:
    store = FakeStore()
    site = await a_site("recipients 1", services=services(store=store))
    store.down = True
    session = a_session(IP)
    with pytest.raises(StoreError):  # which the chain takes for no opinion
        await site.plugin.hook_pre_connection(session)
    assert await site.plugin.hook_connect(session) is None
    tx = a_transaction("me@client.example", "user@example.test", session=session)
    assert await site.plugin.hook_rcpt(tx, a_recipient("next@example.test")) is None


async def test_a_session_counts_once_whatever_the_store_does() -> None:
    site = await a_site()
    session, _ = await site.arrive()
    session.adjust_karma(-3)
    await site.plugin.hook_disconnect(session)
    await site.plugin.hook_disconnect(session)
    record = await site.record()
    assert (record.naughty, record.connects) == (1, 1)


@of_every_kind
async def test_connections_that_end_at_once_all_count(subject: Subject) -> None:
    sites = [
        Site(await a_plugin(Karma, "reject 1", store=subject.store), FakeClock()) for _ in range(2)
    ]
    await asyncio.gather(*(site.visit(3) for site in sites for _ in range(10)))
    record = await sites[0].record()
    assert (record.nice, record.connects) == (20, 20)
    await asyncio.gather(*(site.visit(-4) for site in sites for _ in range(11)))
    assert await sites[1].is_refused()


# --- the doctor -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "path"),
    [("", "/var/lib/qpsmtpd/karma/karma.dbm"), ("db_dir /srv/db", "/srv/db/karma.dbm")],
)
async def test_an_old_database_is_reported(line: str, path: str, tmp_path: Any) -> None:
    site = await a_site(line)
    system = FakeSystem(tmp_path)
    assert await findings_of(site.plugin, system) == []
    system.path(path).parent.mkdir(parents=True)
    system.path(path).touch()
    (found,) = await findings_of(site.plugin, system)
    assert found.subject == path


def test_decisions() -> None:
    """Whoever adds a decision thinks about awards."""
    assert len(Decision) == 3
