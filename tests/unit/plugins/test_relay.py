# SPDX-License-Identifier: MIT
"""relay: who may relay, and above all who may not."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, Endpoint, accept, deny
from qpsmtpd.plugins.relay import Relay, _keys
from qpsmtpd.testing import (
    FakeConfig,
    a_plugin,
    a_recipient,
    a_session,
    a_transaction,
    services,
)

RELAYCLIENTS = [
    "127.0.0.1",
    "192.0.2.9",
    "198.51.",
    "203.0.113.64/26",
    "203.0.113.5/32",
    "2001:db8:1::/48",
    "2001:db8:2:",
    "2001:db8::7",
]


async def may_relay(plugin: Relay, ip: str, *, relay_client: bool = False) -> bool:
    session = a_session(ip, relay_client=relay_client)
    assert await plugin.hook_connect(session) is None
    return session.relay_client


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", False),
        ("192.0.2.9", True),
        ("192.0.2.90", False),
        ("192.0.2.91", False),
        ("198.51.0.0", True),
        ("198.51.255.255", True),
        ("198.5.1.1", False),
        ("198.52.0.1", False),
        ("203.0.113.64", True),
        ("203.0.113.127", True),
        ("203.0.113.63", False),
        ("203.0.113.128", False),
        ("203.0.113.5", True),
        ("203.0.113.4", False),
        ("203.0.113.6", False),
        ("2001:db8:1::", True),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:ffff::", False),
        ("2001:db8:2::1", True),
        ("2001:db8:20::1", False),
        ("2001:db8::7", True),
        ("2001:db8::70", False),
        ("::1", True),
        ("::2", False),
        ("::ffff:192.0.2.9", True),
    ],
)
async def test_relayclients(ip: str, allowed: bool) -> None:
    plugin = await a_plugin(Relay, config={"relayclients": RELAYCLIENTS})
    assert await may_relay(plugin, ip) is allowed


async def test_nobody_but_ipv6_loopback_relays_without_files() -> None:
    plugin = await a_plugin(Relay)
    for ip, allowed in (("127.0.0.1", False), ("192.0.2.1", False), ("::1", True)):
        assert await may_relay(plugin, ip) is allowed


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2",
        "0.0.0.0/0",
        "192.0.2.1/0",
        "0.0.0.0/0.0.0.0",
        "::/0",
        "*",
        ".",
        ":",
        "mx.example",
        "2001:db8",
    ],
)
async def test_lines_that_might_mean_too_much_are_errors(line: str) -> None:
    with pytest.raises(ConfigError, match="relayclients:1"):
        await a_plugin(Relay, config={"relayclients": [line]})


@pytest.mark.parametrize(
    ("ip", "refused"),
    [
        ("192.0.99.5", True),
        ("192.0.98.1", True),
        ("192.0.98.255", True),
        ("192.0.99.7", False),
        ("192.0.109.7", False),
    ],
)
async def test_norelayclients_win(ip: str, refused: bool) -> None:
    config = {"norelayclients": ["192.0.99.5", "192.0.98."], "relayclients": ["192.0."]}
    for environment in ({}, {"RELAYCLIENT": "1"}):
        plugin = await a_plugin(Relay, config=config, environment=environment)
        assert await may_relay(plugin, ip, relay_client=True) is not refused


async def test_the_wrong_lines_of_both_files_are_reported() -> None:
    config = {"norelayclients": ["x", "10."], "relayclients": ["y", "::/0"]}
    with pytest.raises(ConfigError) as caught:
        await a_plugin(Relay, config=config)
    places = [error.where for error in caught.value.parts]
    assert places == ["norelayclients:1", "relayclients:1", "relayclients:2"]


async def test_norelayclients_win_over_loopback() -> None:
    plugin = await a_plugin(Relay, config={"norelayclients": ["::1"]})
    assert not await may_relay(plugin, "::1")


@pytest.mark.parametrize("value", ["", "1"])
async def test_relayclient_in_the_environment(value: str) -> None:
    plugin = await a_plugin(Relay, environment={"RELAYCLIENT": value})
    assert await may_relay(plugin, "192.0.2.1")


async def test_tcpserver_does_not_speak_of_clients_behind_a_proxy() -> None:
    plugin = await a_plugin(Relay, environment={"RELAYCLIENT": ""})
    session = a_session("192.0.2.1")
    session.proxy = Endpoint("127.0.0.1", 40000)
    assert await plugin.hook_connect(session) is None
    assert not session.relay_client


async def test_it_takes_nothing_from_those_who_may_relay_already() -> None:
    assert await may_relay(await a_plugin(Relay), "192.0.2.1", relay_client=True)


@pytest.mark.parametrize(
    ("key", "ip", "allowed"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2.", "192.0.2.200", True),
        ("192.", "192.200.2.2", True),
        ("192", "192.0.2.1", False),
        ("", "192.0.2.1", False),
        (".", "192.0.2.1", False),
        ("", "2001:db8::1", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1", True),
        ("2001:0db8", "2001:db8::1", True),
        ("2001:0d", "2001:db8::1", True),
        ("2001:0", "2001:db8::1", True),
        ("20", "2001:db8::1", True),
        ("2001:0db8:0000:0000:0000:0000:0000:000", "2001:db8::1", True),
        ("2001:0db8:", "2001:db8::1", False),
    ],
)
async def test_the_constant_database(key: str, ip: str, allowed: bool) -> None:
    lent = services()
    assert isinstance(lent.config, FakeConfig)
    lent.config.maps["morerelayclients"] = {key.encode(): b""}
    assert await may_relay(await a_plugin(Relay, services=lent), ip) is allowed


@given(st.ip_addresses())
def test_keys_are_never_empty_and_the_address_or_its_beginnings(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    full = address.exploded
    assert {*_keys(address)} == {str(address)} | {
        full[:length]
        for length in range(1, len(full) + 1)
        if full[length - 1].isalnum() is (address.version == 6)
    }


async def test_only() -> None:
    plugin = await a_plugin(Relay, "only 1")
    session = a_session()
    tx = a_transaction(session=session)
    assert await plugin.hook_rcpt(tx, a_recipient()) == deny("Relaying denied", status="5.7.1")
    session.relay_client = True
    assert await plugin.hook_rcpt(tx, a_recipient()) == accept()


@pytest.mark.parametrize("line", ["", "only 0"])
async def test_without_only_recipients_are_left_to_others(line: str) -> None:
    plugin = await a_plugin(Relay, line)
    assert await plugin.hook_rcpt(a_transaction(), a_recipient()) is None
