# SPDX-License-Identifier: MIT
"""Tests of the plugin rate_limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import HookResult, Session, Verdict, defer, deny
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugins.rate_limit import Rate, RateLimit, parse_rate
from qpsmtpd.testing import (
    FakeClock,
    FakeStore,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    services,
)
from tests.unit.store import stores

MESSAGES = defer("Too many messages from you in a short time", status="4.7.1")
RECIPIENTS = defer("Too many recipients from you in a short time", status="4.7.1")
CONNECTIONS = defer("Too many connections from you in a short time", status="4.7.1")
ERRORS = defer("Too many errors from you in a short time", status="4.7.1")


async def a_limit(line: str, store: FakeStore | None = None, name: str = "") -> RateLimit:
    lent = services(store=store or FakeStore())
    return await a_plugin(RateLimit, line, name=name or "rate_limit", services=lent)


async def messages(plugin: RateLimit, count: int, *sessions: Session) -> list[Verdict | None]:
    """The verdicts on so many messages of each session."""
    return [
        await plugin.hook_data(a_transaction(session=session))
        for _ in range(count)
        for session in sessions or [a_session()]
    ]


# --- rates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/1h", Rate(100, 3600)),
        ("5/m", Rate(5, 60)),
        ("10/30", Rate(10, 30)),
        ("10/30s", Rate(10, 30)),
        ("0/2d", Rate(0, 172800)),
    ],
)
def test_a_rate(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/1h", "-1/1h", "1/0", "1/0h", "1.5/1h", "1/h1", "1 /h", "\u0661/h"]
)
def test_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a number and a time \(100/1h"):
        parse_rate(text)


@given(st.text(st.sampled_from("0123456789/smhd.- "), max_size=12) | st.text(max_size=8))
def test_a_rate_is_right_or_wrong(text: str) -> None:
    try:
        rate = parse_rate(text)
    except ValueError:
        return
    assert rate.events >= 0
    assert rate.window > 0


@given(st.integers(0, 10**12 - 1), st.integers(1, 999999), st.sampled_from("smhd"))
def test_a_rate_survives_being_printed(events: int, number: int, unit: str) -> None:
    rate = parse_rate(f"{events}/{number}{unit}")
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "needs a limit, such as messages_per_client 100/1h"),
        ("exempt no", "needs a limit, such as messages_per_client 100/1h"),
        ("messages_per_client ,", "needs a limit, such as messages_per_client 100/1h"),
        ("messages_per_client 100", "messages_per_client: '100' is not a number and a time"),
        ("errors_per_network 1/m,x", "errors_per_network: 'x' is not a number and a time"),
        ("messages_per_clients 1/m", "did you mean 'messages_per_client'?"),
    ],
)
async def test_wrong_options(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await a_limit(line)
    assert problem in str(caught.value)


# --- what is counted --------------------------------------------------------------------------


async def test_messages() -> None:
    plugin = await a_limit("messages_per_client 2/1h")
    assert await messages(plugin, 4) == [None, None, MESSAGES, MESSAGES]
    assert await plugin.hook_rcpt(a_transaction(), a_recipient()) is None
    assert await plugin.hook_connect(a_session()) is None


async def test_recipients() -> None:
    plugin = await a_limit("recipients_per_client 2/1h")
    tx = a_transaction()
    verdicts = [await plugin.hook_rcpt(tx, a_recipient()) for _ in range(3)]
    assert verdicts == [None, None, RECIPIENTS]
    assert await plugin.hook_data(tx) is None


async def test_connections() -> None:
    plugin = await a_limit("connections_per_client 2/1h")
    verdicts = [await plugin.hook_connect(a_session()) for _ in range(3)]
    assert verdicts == [None, None, CONNECTIONS]


async def test_errors() -> None:
    plugin = await a_limit("errors_per_client 2/1h")
    session = a_session()

    async def told(plugin_name: str, verdict: Verdict | None) -> None:
        await plugin.hook_deny(session, HookResult(plugin_name, "rcpt", verdict))

    for _ in range(2):
        assert await plugin.hook_connect(session) is None
        await told("badrcptto", deny("no"))
        await told("greylisting", defer("not now"))
        await told("rate_limit", deny("ours"))
        await told("rcpt_ok", None)
    assert await plugin.hook_connect(session) is None
    await told("rcpt_ok", deny("no"))
    assert [await plugin.hook_connect(session) for _ in range(3)] == [ERRORS] * 3
    assert await plugin.hook_connect(a_session("192.0.2.77")) is None


# --- for whom ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "one", "same", "other"),
    [
        ("client", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("client", "2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
        ("network", "192.0.2.1", "192.0.2.255", "192.0.3.1"),
        ("network", "2001:db8::1", "2001:db8:0:ffff::1", "2001:db8:1::1"),
    ],
)
async def test_clients_and_networks(option: str, one: str, same: str, other: str) -> None:
    plugin = await a_limit(f"messages_per_{option} 1/1h")
    assert await messages(plugin, 1, a_session(one), a_session(other)) == [None, None]
    assert await messages(plugin, 1, a_session(same)) == [MESSAGES]


async def test_users_though_they_relay() -> None:
    plugin = await a_limit("messages_per_user 1/1h messages_per_client 1/1h")
    one, same, other = a_session(relay_client=True), a_session("192.0.2.9"), a_session()
    one.auth_user, same.auth_user, other.auth_user = "a@example.com", "A@Example.com", "b"
    same.relay_client = other.relay_client = True
    assert await messages(plugin, 1, one, same, other) == [None, MESSAGES, None]
    assert await messages(plugin, 1, a_session("192.0.2.7")) == [None]


async def test_sender_domains() -> None:
    plugin = await a_limit("messages_per_domain 1/1h recipients_per_domain 2/1h")
    senders = ("a@one.example", "b@ONE.example", "a@two.example", "", "")
    verdicts = [await plugin.hook_data(a_transaction(sender)) for sender in senders]
    assert verdicts == [None, MESSAGES, None, None, None]
    tx = a_transaction("a@one.example")
    verdicts = [await plugin.hook_rcpt(tx, a_recipient()) for _ in range(3)]
    assert verdicts == [None, None, RECIPIENTS]


async def test_who_is_exempt() -> None:
    relay, white, sender = a_session(relay_client=True), a_session(), a_session()
    white.whitelisted_host = "a list"
    plugin = await a_limit("messages_per_client 0/1h connections_per_network 0/1h")
    assert await messages(plugin, 1, relay, white, sender) == [None, None, MESSAGES]
    tx = a_transaction(session=sender)
    tx.whitelisted_sender = True
    assert await plugin.hook_data(tx) is None
    assert await plugin.hook_connect(relay) is None
    plugin = await a_limit("messages_per_client 0/1h exempt no")
    assert await messages(plugin, 1, relay, white, sender) == [MESSAGES] * 3


# --- windows ----------------------------------------------------------------------------------


async def test_windows() -> None:
    clock = FakeClock()
    plugin = await a_limit("messages_per_client 2/1m,3/1h", FakeStore(clock))
    assert await messages(plugin, 3) == [None, None, MESSAGES]
    clock.advance(61)
    # The second limit has counted the one that was refused.
    assert await messages(plugin, 1) == [MESSAGES]
    clock.advance(3600)
    assert await messages(plugin, 3) == [None, None, MESSAGES]


async def test_two_of_its_kind_count_for_themselves() -> None:
    store = FakeStore()
    one = await a_limit("messages_per_client 1/1h", store)
    again = await a_limit("messages_per_client 1/1h", store)
    other = await a_limit("messages_per_client 1/1h", store, name="rate_limit:1")
    assert await messages(one, 1) == await messages(other, 1) == [None]
    assert await messages(again, 1) == [MESSAGES]


# --- what happens -----------------------------------------------------------------------------


async def test_ways_to_refuse() -> None:
    line = "messages_per_client 0/1h"
    text = "Too many messages from you in a short time"
    perm = await a_limit(f"{line} reject_type perm")
    assert await messages(perm, 1) == [deny(text, status="5.7.1")]
    closing = await a_limit(f"{line} reject_type temp_disconnect")
    assert await messages(closing, 1) == [defer(text, status="4.7.1", disconnect=True)]
    logging_only = await a_limit(f"{line} reject 0")
    assert await messages(logging_only, 1) == [None]


async def test_the_log_says_which_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await messages(await a_limit("messages_per_network 9/1m,0/1h"), 1)
    assert "messages_per_network 0/1h: 1 of 192.0.2.0/24" in caplog.text


async def test_nothing_is_limited_without_the_store(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    line = "messages_per_client 0/1h recipients_per_client 0/1h connections_per_client 0/1h"
    plugin = await a_limit(f"{line} errors_per_client 0/1h", store)
    store.down = True
    tx = a_transaction()
    await plugin.hook_deny(tx.session, HookResult("rcpt_ok", "rcpt", deny("no")))
    assert await plugin.hook_connect(tx.session) is None
    assert await plugin.hook_rcpt(tx, a_recipient()) is None
    assert await plugin.hook_data(tx) is None
    assert caplog.records == []
    store.down = False
    assert await plugin.hook_data(tx) == MESSAGES


# --- a clock that was wrong -------------------------------------------------------------------

YEARS = 73 * 365 * 86400.0


@pytest.mark.parametrize("wrong", [YEARS, -YEARS], ids=["ahead", "behind"])
@pytest.mark.parametrize("kind", ["fake", "sqlite"])  # redis: tests/integration
async def test_nobody_is_limited_for_decades(kind: str, wrong: float, tmp_path: Path) -> None:
    """Nor do all limits end when the clock is set right."""
    async with getattr(stores, kind)(tmp_path) as subject:
        window = 60 if kind != "redis" else 1
        lent = services(store=subject.store)
        line = f"messages_per_client=1/{window}s"
        plugin = await a_plugin(RateLimit, line, name="rate_limit", services=lent)
        subject.set_clock(wrong)
        assert await messages(plugin, 2) == [None, MESSAGES]
        subject.set_clock(-wrong)
        # A server of Redis forgets what was to end before the time that it is now.
        if (kind, wrong) != ("redis", -YEARS):
            assert await messages(plugin, 1) == [MESSAGES]

        async def free_again() -> bool:
            return await messages(plugin, 1) == [None]

        await subject.until(free_again)
