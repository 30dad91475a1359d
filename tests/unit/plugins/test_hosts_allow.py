# SPDX-License-Identifier: MIT
"""hosts_allow: the limit of connections, and the file."""

import pytest

from qpsmtpd.api import ConfigError, Decision, Session, Verdict, accept, defer, deny
from qpsmtpd.plugins.hosts_allow import HostsAllow
from qpsmtpd.testing import FakeConfig, a_plugin, a_session, services

TOO_MANY = defer("Too many connections from you, try again later", status="4.7.0")


def connected(ip: str, connections: int, limit: int, history: int | None = None) -> Session:
    session = a_session(ip)
    session.connections_from_client = connections
    session.max_connections_from_client = limit
    session.karma_history = history
    return session


@pytest.mark.parametrize("ip", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize(
    ("connections", "limit", "history", "refused"),
    [
        (100, 0, None, False),
        (100, 0, 0, False),
        (5, 5, None, False),
        (6, 5, None, True),
        (8, 5, 6, False),
        (9, 5, 6, True),
        (5, 5, 5, False),
        (6, 5, 5, True),
        (1, 5, 0, False),
        (2, 5, 0, True),
        (2, 5, -3, True),
    ],
)
async def test_the_limit(
    ip: str, connections: int, limit: int, history: int | None, refused: bool
) -> None:
    plugin = await a_plugin(HostsAllow)
    verdict = await plugin.hook_pre_connection(connected(ip, connections, limit, history))
    assert verdict == (TOO_MANY if refused else None)


FILE = [
    "192.0.2.7 OK",
    "192.0.2.0/24 DENY  go away",
    "198.51.100.0/24\tDENYSOFT",
    "203.0.113.5 DECLINED",
    "203.0.113.0/24 DENY_DISCONNECT",
    "2001:db8::/32 DENY not by IPv6",
]


@pytest.mark.parametrize(
    ("ip", "verdict"),
    [
        ("192.0.2.7", accept()),
        ("192.0.2.8", deny("go away")),
        ("192.0.2.255", deny("go away")),
        ("198.51.100.1", defer()),
        ("203.0.113.5", None),
        ("203.0.113.6", deny(disconnect=True)),
        ("2001:db8::1", deny("not by IPv6")),
        ("2001:db9::1", None),
        ("10.0.0.1", None),
    ],
)
async def test_the_first_entry_that_matches_decides(ip: str, verdict: Verdict | None) -> None:
    plugin = await a_plugin(HostsAllow, config={"hosts_allow": FILE})
    assert await plugin.hook_pre_connection(a_session(ip)) == verdict


@pytest.mark.parametrize("entry", ["::ffff:192.0.2.8", "::ffff:192.0.2.0/120", "192.0.2."])
async def test_ipv4_in_other_spellings(entry: str) -> None:
    plugin = await a_plugin(HostsAllow, config={"hosts_allow": [f"{entry} DENY"]})
    assert await plugin.hook_pre_connection(a_session("192.0.2.8")) == deny()
    assert await plugin.hook_pre_connection(a_session("198.51.100.1")) is None


async def test_the_limit_comes_before_the_file() -> None:
    plugin = await a_plugin(HostsAllow, config={"hosts_allow": FILE})
    verdict = await plugin.hook_pre_connection(connected("192.0.2.7", 3, 2))
    assert verdict is not None
    assert verdict.decision is Decision.DEFER


async def test_every_wrong_line_is_reported() -> None:
    lines = ["192.0.2.1", "10. DENY", "10. REFUSE"]
    with pytest.raises(ConfigError) as caught:
        await a_plugin(HostsAllow, config={"hosts_allow": lines})
    assert [error.where for error in caught.value.parts] == ["hosts_allow:1", "hosts_allow:3"]


async def test_host_bits() -> None:
    lent = services(config={"hosts_allow": ["192.0.2.1/24 DENY"]})
    plugin = await a_plugin(HostsAllow, services=lent)
    assert await plugin.hook_pre_connection(a_session("192.0.2.9")) is not None
    assert isinstance(lent.config, FakeConfig)
    text = "hosts_allow:1: '192.0.2.1/24' has host bits and is taken for 192.0.2.0/24"
    assert lent.config.warnings == [text]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("example.com DENY", "is not an address"),
        ("192.0.2.1", "write a code such as"),
        ("192.0.2.1 REFUSE", "not one of DECLINED"),
    ],
)
async def test_wrong_lines(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"hosts_allow:1: .*{problem}"):
        await a_plugin(HostsAllow, config={"hosts_allow": [line]})
