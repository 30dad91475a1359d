# SPDX-License-Identifier: MIT
"""greylisting: who has to wait, for how long, and who does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import (
    DKIM_RESULTS,
    SPF_RESULT,
    ConfigError,
    DkimResult,
    Note,
    Recipient,
    Session,
    SpfResult,
    StoreError,
    Transaction,
    Verdict,
    defer,
)
from qpsmtpd.metrics.catalogue import GREYLIST_DELAY
from qpsmtpd.metrics.counting import FIGURES
from qpsmtpd.plugins import greylisting
from qpsmtpd.plugins.greylisting import (
    ALLOWED_RECIPIENTS,
    COUNTRY,
    P0F,
    TEXT,
    Greylisting,
    GreylistingOptions,
    Memory,
    Tally,
)
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import (
    FakeClock,
    FakeResolver,
    FakeStore,
    FakeSystem,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    dns_failure,
    findings_of,
    services,
)
from tests.unit.store import stores
from tests.unit.store.stores import Subject
from tests.unit.store.test_contract import of_every_kind

WAIT = defer(TEXT, status="4.7.1", code=451)
MINUTE, DAY = 60.0, 86400.0
IP = "192.0.2.9"


class Site:
    """A plugin, its clock, and clients that try."""

    def __init__(self, plugin: Greylisting, clock: FakeClock) -> None:
        self.plugin = plugin
        self.clock = clock

    async def attempt(
        self,
        client: str | Session = IP,
        sender: str = "me@client.example",
        *recipients: str,
        message: str | None = None,
    ) -> tuple[Verdict | None, Transaction]:
        """MAIL, RCPT and DATA, up to the first refusal."""
        session = a_session(client, ehlo="mx.client.example") if isinstance(client, str) else client
        tx = a_transaction(sender, session=session, message=message)
        verdict = await self.plugin.hook_mail(tx, tx.reverse_path)
        for address in recipients or ("user@example.test",):
            if verdict is None:
                recipient = a_recipient(address)
                verdict = await self.plugin.hook_rcpt(tx, recipient)
                tx.recipients.append(recipient)
        verdict = verdict or await self.plugin.hook_data(tx)
        return verdict or await self.plugin.hook_data_post(tx), tx

    async def refused(self, *words: Any) -> bool:
        """Whether an attempt is put off; otherwise the message is delivered."""
        verdict, tx = await self.attempt(*words)
        assert verdict in (None, WAIT)
        if verdict is None:
            assert await self.plugin.hook_queue_post(tx) is None
        return verdict is not None

    async def learn(self, *words: Any) -> None:
        """Have a client become known."""
        assert await self.refused(*words)
        self.clock.advance(51 * MINUTE)
        assert not await self.refused(*words)


async def a_site(line: str = "", **lent: Any) -> Site:
    clock = lent.setdefault("clock", FakeClock())
    return Site(await a_plugin(Greylisting, line, **lent), clock)


# --- time -------------------------------------------------------------------------------------


async def test_an_unknown_client_waits_and_is_known_then() -> None:
    site = await a_site()
    assert await site.refused()
    site.clock.advance(49 * MINUTE)
    assert await site.refused()
    site.clock.advance(2 * MINUTE)
    assert not await site.refused()
    site.clock.advance(35 * DAY)
    assert not await site.refused()
    site.clock.advance(35 * DAY)
    assert not await site.refused()
    site.clock.advance(36 * DAY + 1)
    assert await site.refused()


async def test_attempts_meanwhile_do_not_prolong_the_wait() -> None:
    site = await a_site()
    for _ in range(5):
        assert await site.refused()
        site.clock.advance(10 * MINUTE)
    assert not await site.refused()


@pytest.mark.parametrize("line", ["", "grey_timeout 12000", "grey_timeout 47h"])
async def test_who_retries_after_two_days_at_most_is_recognised(line: str) -> None:
    """Some servers try again only after a day (Hotmail: 90,370 seconds)."""
    site = await a_site(line)
    assert await site.refused()
    site.clock.advance(2 * DAY - 1)
    assert not await site.refused()


async def test_who_retries_later_begins_anew() -> None:
    site = await a_site()
    assert await site.refused()
    site.clock.advance(2 * DAY)
    assert await site.refused()
    site.clock.advance(51 * MINUTE)
    assert not await site.refused()


async def test_the_times_are_options() -> None:
    site = await a_site("black_timeout 5m grey_timeout 5d white_timeout 1h")
    assert await site.refused()
    site.clock.advance(5 * DAY - 1)
    assert not await site.refused()
    site.clock.advance(3599)
    assert not await site.refused()


async def test_a_message_that_is_not_delivered_makes_nobody_known() -> None:
    site = await a_site()
    assert await site.refused()
    site.clock.advance(51 * MINUTE)
    verdict, _ = await site.attempt()
    assert verdict is None
    site.clock.advance(2 * DAY)
    assert await site.refused()


async def test_a_clock_that_is_set_right_changes_nothing() -> None:
    site = await a_site()
    assert await site.refused()
    site.clock.jump(-40 * 365 * DAY)
    assert await site.refused()
    site.clock.advance(51 * MINUTE)
    assert not await site.refused()
    site.clock.jump(80 * 365 * DAY)
    assert not await site.refused()


async def test_what_is_known_is_written_again_once_a_day() -> None:
    clock = FakeClock()
    store = _CountingStore(clock)
    site = await a_site(clock=clock, services=services(clock=clock, store=store))
    await site.learn()
    written = store.written
    for _ in range(24):
        clock.advance(3599)
        assert not await site.refused()
    assert store.written == written
    clock.advance(60)
    assert not await site.refused()
    assert store.written == written + 1


class _CountingStore(FakeStore):
    written = 0

    def scoped(self, name: str) -> FakeStore:
        return self

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self.written += 1
        await super().put(key, value, ttl)


# --- who is recognised by what ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "other", "same"),
    [
        ("", "192.0.2.200", True),
        ("", "192.0.3.9", False),
        ("prefix 32", "192.0.2.200", False),
        ("prefix 16", "192.0.3.9", True),
    ],
)
async def test_networks(line: str, other: str, same: bool) -> None:
    site = await a_site(line)
    await site.learn()
    assert await site.refused(other) is not same


async def test_networks_of_ipv6() -> None:
    site = await a_site()
    await site.learn("2001:db8::1")
    assert not await site.refused("2001:db8::ffff:1")
    assert await site.refused("2001:db8:0:1::1")
    site = await a_site("prefix6 48")
    await site.learn("2001:db8::1")
    assert not await site.refused("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("remote_ip 0", ""),
        ("", "192.168.1.0/24"),
        ("sender 1", "192.168.1.0/24:user@example.com"),
        ("sender 1 recipient 1", "192.168.1.0/24:user@example.com:to@example.net"),
        ("remote_ip 0 sender 1", "user@example.com"),
    ],
)
async def test_keys(line: str, key: str) -> None:
    site = await a_site(line)
    tx = a_transaction("User@example.com", session=a_session("192.168.1.1"))
    client = site.plugin._network(tx.session) if site.plugin.options.remote_ip else ""
    assert site.plugin._key(tx, client, a_recipient("to@example.net")).lower() == key


async def test_with_nothing_to_recognise_anybody_by_nobody_waits() -> None:
    site = await a_site("remote_ip 0")
    assert not await site.refused()
    warnings = site.plugin.services.config.warnings  # type: ignore[attr-defined]
    assert "has nothing to recognise clients by" in warnings[0]


async def test_senders() -> None:
    site = await a_site("sender 1")
    await site.learn()
    assert not await site.refused(IP, "me@client.example")
    assert await site.refused(IP, "other@client.example")


async def test_recipients_are_judged_one_by_one() -> None:
    site = await a_site("recipient 1")
    await site.learn()
    tx = a_transaction(session=a_session(IP))
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None
    assert await site.plugin.hook_rcpt(tx, a_recipient("user@example.test")) is None
    assert await site.plugin.hook_rcpt(tx, a_recipient("other@example.test")) == WAIT


async def test_per_recipient_decides_at_rcpt() -> None:
    site = await a_site("per_recipient 1")
    tx = a_transaction(session=a_session(IP))
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None
    assert await site.plugin.hook_rcpt(tx, a_recipient()) == WAIT


async def test_a_network_with_enough_good_mail_is_known_for_all_senders() -> None:
    site = await a_site("sender 1 good_messages 3")
    await site.learn()
    for _ in range(2):
        assert await site.refused(IP, "other@client.example")
        assert not await site.refused()
    assert not await site.refused(IP, "third@client.example")
    assert not await site.refused("192.0.2.77", "fourth@client.example")
    assert await site.refused("192.0.3.77", "fourth@client.example")


@pytest.mark.parametrize("line", ["sender 1 good_messages 0", "sender 1 good_messages 3"])
async def test_no_good_mail(line: str) -> None:
    """Where it does not count, or came from a client that lost karma."""
    site = await a_site(line)
    await site.learn()
    for _ in range(4):
        session = a_session(IP)
        session.karma = -1 if "3" in line else 0
        assert not await site.refused(session)
    assert await site.refused(IP, "other@client.example")


async def test_a_flood_of_senders_makes_a_network_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(greylisting, "MOST_NEW", 3)
    site = await a_site("sender 1")
    for number in range(5):
        assert await site.refused(IP, f"{number}@client.example")
    store = site.plugin.services.store
    entries = len(store._entries)  # type: ignore[attr-defined]
    for number in range(5, 20):
        assert await site.refused(IP, f"{number}@client.example")
    assert len(store._entries) == entries  # type: ignore[attr-defined]
    assert caplog.text.count("too many first attempts") == 1
    site.clock.advance(51 * MINUTE)
    assert not await site.refused(IP, "1@client.example")
    assert not await site.refused(IP, "20@client.example")
    assert await site.refused("192.0.3.1", "20@client.example")


# --- domains ----------------------------------------------------------------------------------

SPF = {
    ("TXT", "client.example"): ["v=spf1 ip4:192.0.2.0/24 ip4:203.0.113.0/24 -all"],
    ("TXT", "lax.example"): ["v=spf1 +all"],
}


async def test_a_domain_that_vouches_is_recognised_in_any_of_its_networks() -> None:
    site = await a_site(dns=SPF)
    assert await site.refused(IP)
    assert await site.refused("203.0.113.5")
    assert await site.refused("198.51.100.5")
    site.clock.advance(51 * MINUTE)
    assert not await site.refused("203.0.113.77")
    assert not await site.refused(IP)


async def test_a_known_domain_does_not_wait_in_a_new_network() -> None:
    site = await a_site(dns=SPF)
    await site.learn(IP)
    assert not await site.refused("203.0.113.5")
    assert await site.refused("198.51.100.5")


@pytest.mark.parametrize(
    ("line", "sender"),
    [
        ("domains no", "me@client.example"),
        ("", "me@lax.example"),
        ("", "me@none.example"),
        ("", "me@[192.0.2.9]"),
        ("", ""),
    ],
)
async def test_domains_that_do_not_vouch(line: str, sender: str) -> None:
    site = await a_site(line, dns=SPF)
    assert await site.refused(IP, sender)
    site.clock.advance(51 * MINUTE)
    assert await site.refused("203.0.113.5", sender)


async def test_a_dns_that_fails_vouches_for_nobody() -> None:
    site = await a_site(dns={("TXT", "client.example"): dns_failure()})
    await site.learn(IP)
    assert await site.refused("203.0.113.5")


async def test_the_dns_is_asked_only_about_those_who_would_wait() -> None:
    dns = FakeResolver(SPF)
    site = await a_site(dns=dns)
    await site.learn(IP)
    dns.asked.clear()
    assert not await site.refused(IP)
    assert dns.asked == []


async def test_a_result_of_spf_that_is_there_is_used() -> None:
    dns = FakeResolver(SPF)
    site = await a_site(dns=dns)
    tx = a_transaction("me@client.example", session=a_session(IP))
    tx.notes[SPF_RESULT] = SpfResult("fail", "mailfrom", "client.example")
    assert await site.plugin.hook_mail(tx, tx.reverse_path) == WAIT
    assert dns.asked == []


async def signed(site: Site, client: str, *domains: DkimResult) -> Verdict | None:
    tx = a_transaction("me@client.example", "user@example.test", session=a_session(client))
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None
    assert await site.plugin.hook_data(tx) is None
    tx.notes[DKIM_RESULTS] = domains
    verdict = await site.plugin.hook_data_post(tx)
    if verdict is None:
        await site.plugin.hook_queue_post(tx)
    return verdict


async def test_domains_that_have_signed() -> None:
    site = await a_site("deny_late message")
    good = DkimResult("pass", domain="signer.example")
    assert await signed(site, IP, good) == WAIT
    site.clock.advance(51 * MINUTE)
    assert await signed(site, "203.0.113.5", good) is None
    assert await signed(site, "198.51.100.5", good) is None
    for bad in (
        DkimResult("fail", domain="signer.example"),
        DkimResult("pass", domain="signer.example", partial=True),
        DkimResult("pass", domain="other.example"),
    ):
        assert await signed(site, "100.64.0.1", bad) == WAIT
    # Messages can be sent once more by anybody: that says nothing about a network.
    assert await signed(site, "198.51.100.5") == WAIT


# --- who never waits --------------------------------------------------------------------------


def relay_client() -> Session:
    return a_session(IP, relay_client=True)


def user() -> Session:
    session = a_session(IP)
    session.auth_user = "user"
    return session


def allowed_host() -> Session:
    session = a_session(IP)
    session.whitelisted_host = "list.dnswl.test"
    return session


def good_history() -> Session:
    session = a_session(IP)
    session.karma_history = 1
    return session


def local() -> Session:
    return a_session("127.0.0.1")


@pytest.mark.parametrize("client", [relay_client, user, allowed_host, good_history, local])
async def test_who_never_waits(client: Any) -> None:
    store = FakeStore(down=True)
    site = await a_site(services=services(store=store))
    assert not await site.refused(client())


async def test_an_allowed_sender() -> None:
    site = await a_site()
    tx = a_transaction(session=a_session(IP))
    tx.whitelisted_sender = True
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None


@pytest.fixture
def excluding(tmp_path: Path) -> Mapping[str, Any]:
    (tmp_path / "greylist_clients").write_text(
        "# comment\n\n194.7.234.142\nyahoo.com # since 2010\npostini.com\n/^mta[12].siol.net$/\n"
    )
    return {
        "config": {"greylist_exclude_files": ["greylist_clients"]},
        "config_dir": tmp_path,
    }


@pytest.mark.parametrize(
    ("ip", "name", "waits"),
    [
        ("194.7.234.142", None, False),
        (IP, "postini.com", False),
        (IP, "mta2.siol.net", False),
        (IP, "mx.yahoo.com", False),
        (IP, "mta1234.siol.net", True),
        ("194.7.234.143", None, True),
    ],
)
async def test_files_of_clients(
    excluding: Mapping[str, Any], ip: str, name: str | None, waits: bool
) -> None:
    site = await a_site(**excluding)
    assert await site.refused(a_session(ip, client_name=name)) is waits


async def test_a_name_that_is_not_confirmed_spares_nobody(excluding: Mapping[str, Any]) -> None:
    site = await a_site(**excluding)
    assert await site.refused(a_session(IP, reverse_name="postini.com"))


async def test_a_file_of_clients_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_site(config={"greylist_exclude_files": ["absent"]}, config_dir=tmp_path)
    assert caught.value.where == "greylist_exclude_files:1"
    assert "absent cannot be read" in str(caught.value)


@pytest.mark.parametrize("country", ["US", "us", "hu"])
async def test_countries(country: str) -> None:
    site = await a_site("geoip US,UK,HU")
    session = a_session(IP)
    session.notes[COUNTRY] = country
    assert not await site.refused(session)


@pytest.mark.parametrize("country", ["DE", None])
async def test_other_countries(country: str | None) -> None:
    site = await a_site("geoip US,UK,HU")
    session = a_session(IP)
    if country:
        session.notes[COUNTRY] = country
    assert await site.refused(session)


FINGERPRINT = {"genre": "Windows XP", "link": "DSL", "distance": 9, "uptime": 99, "detail": ""}


@pytest.mark.parametrize(
    ("line", "found", "waits"),
    [
        ("p0f genre,windows", FINGERPRINT, True),
        ("p0f genre,/^win/", FINGERPRINT, True),
        ("p0f genre,linux", FINGERPRINT, False),
        ("p0f genre,linux,link,dsl", FINGERPRINT, True),
        ("p0f link,dsl", FINGERPRINT, True),
        ("p0f distance,8", FINGERPRINT, True),
        ("p0f distance,9", FINGERPRINT, False),
        ("p0f uptime,100", FINGERPRINT, True),
        ("p0f uptime,99", FINGERPRINT, False),
        ("p0f uptime,100", {}, False),
        ("p0f genre,windows", None, False),
    ],
)
async def test_fingerprints(line: str, found: Mapping[str, Any] | None, waits: bool) -> None:
    site = await a_site(line)
    session = a_session(IP)
    if found is not None:
        session.notes[P0F] = found
    assert await site.refused(session) is waits


# --- suspects ---------------------------------------------------------------------------------


def plain() -> Session:
    return a_session(IP, ehlo="mx.client.example", client_name="mx.client.example")


def odd(ip: str = IP, **given: Any) -> Session:
    return a_session(ip, **{"ehlo": "mx.client.example", **given})


def with_karma(now: int, history: int | None = None) -> Session:
    session = plain()
    session.karma, session.karma_history = now, history
    return session


@pytest.mark.parametrize(
    ("line", "session", "waits"),
    [
        ("suspects all", plain(), False),
        ("", plain(), True),
        ("suspects nameless", odd(reverse_name="mx.client.example"), True),
        ("suspects nameless", odd(), False),  # nobody has asked the DNS
        ("suspects dynamic,helo", odd(reverse_name="mx.client.example"), False),
        ("suspects dynamic", odd(client_name="h9.dyn.client.example"), True),
        ("suspects dynamic", odd(reverse_name="192-0-2-9.client.example"), True),
        ("suspects helo", odd(ehlo="localhost", client_name="mx.client.example"), True),
        ("suspects helo", odd(ehlo="[192.0.2.9]", client_name="mx.client.example"), True),
        ("suspects helo", odd(ehlo="192.0.2.9", client_name="mx.client.example"), True),
        ("suspects helo", plain(), False),
        ("suspects karma", with_karma(-1), True),
        ("suspects karma", with_karma(0, -1), True),
        ("suspects karma", with_karma(0, 0), False),
        ("suspects listed", plain(), True),
        ("suspects listed", a_session("198.51.100.1", ehlo="mx.client.example"), False),
        ("suspects all", odd("192.0.2.10", client_name="h.dyn.client.example"), True),
    ],
)
async def test_suspects(line: str, session: Session, waits: bool) -> None:
    listed = line == "suspects listed"
    site = await a_site(
        line,
        config={"greylist_zones": ["weak.test"]},
        dns={("A", "9.2.0.192.weak.test"): ["127.0.0.2"] if listed else []},
    )
    assert await site.refused(session) is waits


async def test_a_list_that_is_silent_is_no_reason() -> None:
    site = await a_site(
        "suspects listed timeout 0.01 domains no",
        config={"greylist_zones": ["weak.test"]},
        dns=FakeResolver(silent=True),
    )
    assert not await site.refused(plain())


async def test_who_was_no_suspect_and_sent_mail_is_known_when_it_becomes_one() -> None:
    site = await a_site("suspects nameless")
    assert not await site.refused(plain())
    assert not await site.refused(odd(reverse_name="mx.client.example"))


# --- when it is refused -----------------------------------------------------------------------


async def test_deny_late_refuses_at_data() -> None:
    site = await a_site("deny_late 1")
    tx = a_transaction("me@client.example", "user@example.test", session=a_session(IP))
    assert await site.plugin.hook_mail(tx, tx.reverse_path) is None
    assert await site.plugin.hook_data(tx) == WAIT


@pytest.mark.parametrize("line", ["", "recipient 1"])
async def test_without_a_sender_it_is_refused_at_data(line: str) -> None:
    """Servers that ask whether a recipient exists do not get that far."""
    site = await a_site(line)
    tx = a_transaction("", "user@example.test", session=a_session(IP))
    assert await site.plugin.hook_mail(tx, None) is None
    assert await site.plugin.hook_rcpt(tx, tx.recipients[0]) is None
    assert await site.plugin.hook_data(tx) == WAIT


@pytest.mark.parametrize(
    ("late", "recipients", "allowed", "refused"),
    [(False, 1, 0, False), (True, 0, 0, False), (True, 2, 1, True), (True, 1, 1, False)],
)
async def test_at_data(late: bool, recipients: int, allowed: int, refused: bool) -> None:
    site = await a_site()
    addresses = [f"user{number}@example.test" for number in range(recipients)]
    tx = a_transaction("", *addresses, session=a_session(IP))
    if late:
        waiting: list[Recipient | None] = [None]
        tx.notes[site.plugin._late] = waiting
    tx.notes[ALLOWED_RECIPIENTS] = allowed
    assert await site.plugin.hook_data(tx) == (WAIT if refused else None)


@pytest.mark.parametrize("line", ["reject 0", "mode testonly", "mode off"])
async def test_nobody_is_refused(line: str) -> None:
    site = await a_site(line)
    assert not await site.refused()


async def test_what_only_watches_still_learns() -> None:
    clock = FakeClock()
    lent = services(clock=clock)
    watching = Site(await a_plugin(Greylisting, "mode testonly", services=lent), clock)
    assert not await watching.refused()
    clock.advance(51 * MINUTE)
    assert not await Site(await a_plugin(Greylisting, services=lent), clock).refused()


@pytest.mark.parametrize("mode", ["shadow", "tag"])
async def test_the_modes_of_every_plugin(mode: str) -> None:
    site = await a_site(f"mode {mode}")
    assert site.plugin.mode == mode
    assert await site.refused()


async def test_the_connection_may_be_ended_too() -> None:
    site = await a_site("reject_type temp_disconnect")
    verdict, _ = await site.attempt()
    assert verdict == defer(TEXT, status="4.7.1", disconnect=True)


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("reject_type perm", "reject_type perm: greylisting must not refuse for good"),
        ("p0f genre", "p0f: "),
        ("p0f colour,blue", "p0f: colour,blue is not genre, link or detail"),
        ("p0f distance,far", "p0f: distance,far is not"),
        ("p0f genre,[", "is not a regular expression"),
        ("suspects everybody", "is not one of all, nameless"),
        ("mode never", "is not one of enforce"),
        ("prefix 33", "is too big"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_site(line)
    assert problem in str(caught.value)


async def test_a_line_of_the_perl_version() -> None:
    line = (
        "remote_ip 1 sender 0 recipient 0 deny_late 0 mode denysoft black_timeout 60 "
        "grey_timeout 12000 white_timeout 3110400 db_dir /var/spool/qpsmtpd nfslock 1 upgrade 1 "
        "redis store.example:6380 per_recipient 0 per_recipient_db 0 reject 1"
    )
    site = await a_site(line)
    assert await site.refused()
    warnings = site.plugin.services.config.warnings  # type: ignore[attr-defined]
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "write redis://store.example:6380 into the file store: redis has no effect",
        "grey_timeout 200m counts as 2d",
    ]


async def test_the_file_of_options() -> None:
    config = {"denysoft_greylist": ["black_timeout 10m", "sender 1", "mode testonly"]}
    site = await a_site("sender 0", config=config)
    assert site.plugin.options.black_timeout == 10 * MINUTE
    assert site.plugin.options.reject == "0"
    site = await a_site("mode denysoft", config=config)
    assert site.plugin.options.reject == "1"
    site = await a_site("black_timeout 20m", config=config)
    assert site.plugin.options.black_timeout == 20 * MINUTE


@pytest.mark.parametrize("wrong", ["black_timeout soon", "colour blue", "reject_type perm"])
async def test_a_file_of_options_that_is_wrong(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_site(config={"denysoft_greylist": [wrong]})
    assert caught.value.where == "denysoft_greylist:1"


# --- what is said -----------------------------------------------------------------------------


async def test_the_delay_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site = await a_site()
    assert await site.refused()
    site.clock.advance(3600)
    assert not await site.refused()
    assert "delivered after waiting delay=3600" in caplog.text
    assert (
        "report accepted=1 delayed=1 share=100.0% median_delay=3600 longest_delay=3600 "
        "attempts_put_off=1" in caplog.text
    )


async def test_the_last_report_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site = await a_site()
    await site.plugin.stop()
    assert "report" not in caplog.text
    assert await site.refused()
    await site.plugin.stop()
    assert "report accepted=0 delayed=0 share=0.0%" in caplog.text


def test_a_tally() -> None:
    tally = Tally(0.0)
    for delay in (None, 300.0, None, 600.0, 3000.0):
        tally.delivered(delay)
    assert str(tally) == (
        "accepted=5 delayed=3 share=60.0% median_delay=600 longest_delay=3000 attempts_put_off=0"
    )
    assert not tally.is_due(3599)
    assert tally.is_due(3600)


# --- the store --------------------------------------------------------------------------------


async def test_while_the_store_is_down_nobody_waits() -> None:
    """The chain takes StoreError for no opinion."""
    site = await a_site(services=services(store=FakeStore(down=True)))
    with pytest.raises(StoreError):
        await site.attempt()


async def test_everything_ends() -> None:
    clock = FakeClock()
    store = FakeStore(clock)
    site = await a_site(
        "sender 1", clock=clock, services=services(clock=clock, store=store, dns=SPF)
    )
    await site.learn()
    assert all(end - clock.monotonic() <= 36 * DAY for _, end in store._entries.values())


@of_every_kind
async def test_in_every_store(subject: Subject) -> None:
    """Many attempts at once neither pass nor prolong the wait; then all of them pass."""
    line = f"black_timeout {subject.short} domains no"
    plugin = await a_plugin(Greylisting, line, store=subject.store)
    site = Site(plugin, FakeClock())

    async def refused() -> bool:
        verdict, _ = await site.attempt()
        return verdict is not None

    async def passes() -> bool:
        return not await refused()

    assert await refused()
    await subject.until(passes)
    assert await asyncio.gather(*(refused() for _ in range(20))) == [False] * 20
    assert not await site.refused()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_several_workers(kind: str, tmp_path: Path) -> None:
    """First attempts through several workers at once are one; none passes, and none begins anew."""
    async with AsyncExitStack() as stack:
        subject = await stack.enter_async_context(getattr(stores, kind)(tmp_path))
        plugins = [
            await a_plugin(
                Greylisting,
                "domains no",
                name="greylisting",
                store=_another_view_of(subject, kind, stack),
            )
            for _ in range(4)
        ]
        sites = [Site(plugin, FakeClock()) for plugin in plugins]
        verdicts = await asyncio.gather(*(s.attempt() for s in sites for _ in range(10)))
        assert {verdict for verdict, _ in verdicts} == {WAIT}
        memory = plugins[0]._memory
        state = await memory.state("192.0.2.0/24")
        assert state.waiting
        # The wait is over for all at the same time.
        await memory._store.delete("wait/192.0.2.0/24")
        verdicts = await asyncio.gather(*(s.attempt() for s in sites for _ in range(10)))
        assert {verdict for verdict, _ in verdicts} == {None}
        await asyncio.gather(*(plugins[1].hook_queue_post(tx) for _, tx in verdicts))
        assert all([await p._memory.known("192.0.2.0/24") is not None for p in plugins])


async def test_a_count_that_nobody_has_written() -> None:
    """The store may say anything."""
    store = FakeStore(FakeClock())
    memory = Memory(store, GreylistingOptions())
    for value in (b"x", b"\xff", b"-1", b"1" * 5000):
        await store.put("good/192.0.2.0/24", value, 60)
        assert await memory.good_messages("192.0.2.0/24") == 0
    await memory.add_good_message("192.0.2.0/24", 5)
    assert await memory.good_messages("192.0.2.0/24") == 1


def _another_view_of(subject: Subject, kind: str, stack: AsyncExitStack) -> Any:
    """What another process has open."""
    backend: Any = subject.store._guard._backend  # type: ignore[attr-defined]
    store = shared_store(
        backend._file._path if kind == "sqlite" else backend._node._location, stores.TIMEOUT
    )
    stack.push_async_callback(store.close)
    return store


# --- the doctor -------------------------------------------------------------------------------


async def test_findings(tmp_path: Path) -> None:
    dns = {("A", "2.0.0.127.weak.test"): ["127.0.0.2"]}
    plugin = await a_plugin(Greylisting, config={"greylist_zones": ["weak.test"]}, dns=dns)
    system = FakeSystem(tmp_path)
    (good,) = await findings_of(plugin, system)
    assert "lists its test entry" in good.text
    system.path("/var/lib/qpsmtpd/greylisting").mkdir(parents=True)
    system.path("/var/lib/qpsmtpd/greylisting/greylist.dbm").touch()
    _, old = await findings_of(plugin, system)
    assert old.subject == "/var/lib/qpsmtpd/greylisting/greylist.dbm"
    assert "is not read" in old.text


def names_of(notes: Sequence[Note[Any]]) -> list[str]:
    return [note.name for note in notes]


def test_notes_of_other_plugins() -> None:
    from qpsmtpd.plugins import whitelist

    assert names_of([ALLOWED_RECIPIENTS]) == names_of([whitelist.RECIPIENTS])


async def test_the_delay_is_measured() -> None:
    site = await a_site()
    assert await site.refused()
    site.clock.advance(3600)
    noted = FIGURES.series(GREYLIST_DELAY).noted
    noted.clear()
    assert not await site.refused()
    assert list(noted) == [3600]
