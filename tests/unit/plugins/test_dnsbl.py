# SPDX-License-Identifier: MIT
"""dnsbl: lists, their failures, the exempt, RBLSMTPD, and the recipients that clear a client."""

import asyncio
from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Decision, Endpoint, Session, Verdict
from qpsmtpd.plugins.dnsbl import Dnsbl
from qpsmtpd.testing import (
    FakeResolver,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    dns_failure,
)

IP = "192.0.2.9"
NAME = "9.2.0.192"
LISTED = {("A", f"{NAME}.bl.test"): ["127.0.0.2"], ("TXT", f"{NAME}.bl.test"): ["see bl.test"]}
ZONES = {"dnsbl_zones": ["bl.test"]}
PERM = (Decision.DENY, "5.7.1", False)


async def run(line: str = "", *, session: Session | None = None, **lent: Any) -> Verdict | None:
    """What becomes of a client at connect, after pre_connection and before its end."""
    lent.setdefault("config", ZONES)
    lent.setdefault("dns", LISTED)
    plugin = await a_plugin(Dnsbl, line, **lent)
    session = session or a_session(IP)
    assert await plugin.hook_pre_connection(session) is None
    try:
        return await plugin.hook_connect(session)
    finally:
        await session.end_tasks()


def shape(verdict: Verdict | None) -> tuple[Decision, str, bool] | None:
    return (verdict.decision, verdict.status, verdict.disconnect) if verdict else None


def text(verdict: Verdict | None) -> str:
    assert verdict is not None
    return verdict.text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", PERM),
        ("reject 1 timeout 5", PERM),
        ("reject connect", PERM),
        ("reject 0", None),
        ("reject naughty", None),
        ("disconnect", (Decision.DENY, "5.7.1", True)),
        ("temp", (Decision.DEFER, "4.7.1", False)),
        ("reject_type temp", (Decision.DEFER, "4.7.1", False)),
        ("reject_type=disconnect", (Decision.DENY, "5.7.1", True)),
    ],
)
async def test_a_listed_client(line: str, expected: tuple[Decision, str, bool] | None) -> None:
    session = a_session(IP)
    assert shape(await run(line, session=session)) == expected
    assert session.karma == -1
    assert session.has_deferred_rejects is ("naughty" in line)


async def test_who_is_not_listed_passes() -> None:
    session = a_session("192.0.2.10")
    assert await run(session=session) is None
    assert session.karma == 0


async def test_the_text_is_what_the_list_says() -> None:
    assert text(await run()) == "see bl.test"


async def test_the_text_of_the_zone_wins_and_names_the_client() -> None:
    dns = FakeResolver(LISTED)
    config = {"dnsbl_zones": ["bl.test:Blocked, see https://bl.test/?%IP%"]}
    assert text(await run(dns=dns, config=config)) == f"Blocked, see https://bl.test/?{IP}"
    assert ("TXT", f"{NAME}.bl.test") not in dns.asked


async def test_a_list_that_says_nothing() -> None:
    dns = {("A", f"{NAME}.bl.test"): ["127.0.0.2"]}
    assert text(await run(dns=dns)) == f"Client {IP} is listed by bl.test"


async def test_the_first_list_of_the_file_decides() -> None:
    config = {"dnsbl_zones": ["none.test:none", "one.test:one", "two.test:two"]}
    dns = {("A", f"{NAME}.{zone}"): ["127.0.0.2"] for zone in ("two.test", "one.test")}
    assert text(await run(dns=dns, config=config)) == "one"


WEIGHTED = [
    "strong.test*3:strong",
    "weak.test=127.0.0.[2;4..6]*1:weak",
    "weaker.test*+1:weaker",
    "wl.test=127.0.[0..255].[1..3]*-2",
]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"strong": "127.0.0.9"}, "strong"),
        ({"weak": "127.0.0.2"}, None),
        ({"weak": "127.0.0.2", "weaker": "127.0.0.9"}, "weak"),
        ({"weak": "127.0.0.5", "weaker": "127.0.0.9"}, "weak"),
        ({"weak": "127.0.0.3", "weaker": "127.0.0.9"}, None),
        ({"weak": "127.0.1.2", "weaker": "127.0.0.9"}, None),
        ({"weaker": "127.0.0.9", "weak": "127.0.0.4", "wl": "127.0.5.1"}, None),
        ({"strong": "127.0.0.9", "wl": "127.0.5.1"}, None),
        ({"strong": "127.0.0.9", "weak": "127.0.0.4", "wl": "127.0.5.3"}, "strong"),
        ({"strong": "127.0.0.9", "wl": "127.0.5.0"}, "strong"),
        ({"wl": "127.0.5.1"}, None),
        ({}, None),
    ],
)
async def test_weights(answers: dict[str, str], said: str | None) -> None:
    dns = {("A", f"{NAME}.{zone}.test"): [answer] for zone, answer in answers.items()}
    session = a_session(IP)
    config = {"dnsbl_zones": WEIGHTED}
    verdict = await run("threshold 2", session=session, dns=dns, config=config)
    assert (verdict and verdict.text) == said
    assert session.karma == (-1 if said else 0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bl.test*many", "must be ZONE"),
        ("bl test", "must be ZONE"),
        ("*2", "must be ZONE"),
        ("bl.test=127.0.0", "'127.0.0' is not 127.0.0.2, or with numbers"),
        ("bl.test=127.0.0.[4..2]", "is not 127.0.0.2"),
        ("bl.test=127.0.0.[2..999]", "is not 127.0.0.2"),
        ("bl.test=127.0.0.[2;]", "is not 127.0.0.2"),
    ],
)
async def test_wrong_lines(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await run(config={"dnsbl_zones": ["bl.test", line]})
    assert caught.value.where == "dnsbl_zones:2"
    assert problem in str(caught.value)


async def test_a_list_that_has_everybody_lists_nobody() -> None:
    dns = FakeResolver({**LISTED, ("A", "1.0.0.127.bl.test"): ["127.0.0.2"]})
    plugin = await a_plugin(Dnsbl, config=ZONES, dns=dns)
    for _ in range(2):
        session = a_session(IP)
        assert await plugin.hook_connect(session) is None
        await session.end_tasks()
    # It is not asked again for an hour.
    assert dns.asked == [("A", f"{NAME}.bl.test"), ("A", "1.0.0.127.bl.test")]


async def test_ipv6() -> None:
    name = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2"
    dns = {("A", f"{name}.bl.test"): ["127.0.0.2"]}
    assert shape(await run(dns=dns, session=a_session("2001:db8::1"))) == PERM


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["127.255.255.254"], ["192.0.2.1"], dns_failure()]
)
async def test_a_list_in_error_lists_nobody(answer: Any) -> None:
    assert await run(dns={("A", f"{NAME}.bl.test"): answer}) is None


class SilentZone(FakeResolver):
    """The zone silent.test does not answer."""

    async def a(self, name: str) -> list[str]:
        if name.endswith("silent.test"):
            await asyncio.Event().wait()
        return await super().a(name)


async def test_a_silent_list_does_not_hide_what_others_say() -> None:
    config = {"dnsbl_zones": ["silent.test", "bl.test"]}
    assert shape(await run("timeout 0.01", dns=SilentZone(LISTED), config=config)) == PERM


async def test_silence_lists_nobody() -> None:
    assert await run("timeout 0.01", dns=FakeResolver(silent=True)) is None


async def test_the_lookup_starts_when_the_client_connects_and_ends_with_it() -> None:
    dns = FakeResolver(silent=True)
    plugin = await a_plugin(Dnsbl, config=ZONES, dns=dns)
    session = a_session(IP)
    await plugin.hook_pre_connection(session)
    task = session.notes[plugin._lookup]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert dns.asked == [("A", f"{NAME}.bl.test")]
    await session.end_tasks()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_without_pre_connection_it_starts_at_connect() -> None:
    plugin = await a_plugin(Dnsbl, config=ZONES, dns=LISTED)
    session = a_session(IP)
    assert shape(await plugin.hook_connect(session)) == PERM
    await session.end_tasks()


@pytest.mark.parametrize("allow", ["192.0.2.9", "192.0.2.", "192.0.2", "192.0.2.0/28"])
async def test_dnsbl_allow(allow: str) -> None:
    dns = FakeResolver(LISTED)
    assert await run(dns=dns, config={**ZONES, "dnsbl_allow": [allow]}) is None
    assert dns.asked == []


async def test_dnsbl_allow_of_ipv6() -> None:
    config = {**ZONES, "dnsbl_allow": ["2001:db8:"]}
    plugin = await a_plugin(Dnsbl, config=config, dns=LISTED)
    assert await plugin.hook_connect(a_session("2001:db8::9")) is None


async def test_others_are_not_allowed() -> None:
    assert shape(await run(config={**ZONES, "dnsbl_allow": ["192.0.2.8", "192.0.3."]})) == PERM
    with pytest.raises(ConfigError, match="dnsbl_allow:1"):
        await run(config={"dnsbl_allow": ["192.0.2.x"]})


async def test_the_immune_are_not_asked_about() -> None:
    for name in ("relay_client", "whitelisted_host"):
        session = a_session(IP)
        setattr(session, name, True)
        assert await run(session=session) is None


async def test_rblsmtpd_with_a_text_refuses() -> None:
    dns = FakeResolver()
    config = {**ZONES, "dnsbl_rejectmsg": ["Sorry:"]}
    verdict = await run(dns=dns, config=config, environment={"RBLSMTPD": "no %IP% here"})
    assert (shape(verdict), text(verdict)) == (PERM, f"Sorry: no {IP} here")
    assert dns.asked == []
    assert await run("reject 0", environment={"RBLSMTPD": "no"}) is None


@pytest.mark.parametrize("value", ["", "no"])
async def test_rblsmtpd_is_not_for_clients_behind_a_proxy(value: str) -> None:
    plugin = await a_plugin(Dnsbl, config=ZONES, dns=LISTED, environment={"RBLSMTPD": value})
    session = a_session(IP)
    session.proxy = Endpoint("127.0.0.1", 40000)
    verdict = await plugin.hook_connect(session)
    assert verdict is not None and verdict.decision is Decision.DENY
    assert verdict.text != "no"


async def test_rblsmtpd_empty_lets_pass() -> None:
    assert await run(environment={"RBLSMTPD": ""}) is None


@pytest.mark.parametrize("user", ["postmaster", "Abuse", "MAILER-DAEMON", "root"])
async def test_some_recipients_clear_the_client(user: str) -> None:
    plugin = await a_plugin(Dnsbl, "reject naughty reject_type temp", config=ZONES, dns=LISTED)
    session = a_session(IP)
    await plugin.hook_connect(session)
    tx = a_transaction(session=session)
    assert await plugin.hook_rcpt(tx, a_recipient("user@example.test")) is None
    assert (session.has_deferred_rejects, session.deferred_type) == (True, "temp")
    assert await plugin.hook_rcpt(tx, a_recipient(f"{user}@example.test")) is None
    assert (session.has_deferred_rejects, session.deferred_type) == (False, "")
    await session.end_tasks()


async def test_without_zones_nothing_is_asked() -> None:
    dns = FakeResolver()
    assert await run(config={}, dns=dns) is None
    assert dns.asked == []


@pytest.mark.parametrize("line", ["sometimes", "reject sometimes", "zones bl.test"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Dnsbl, line)
