# SPDX-License-Identifier: MIT
"""hostlist.py: what an entry stands for, and what is in a list."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.hosts import HostList, parse_hosts, read_hosts
from qpsmtpd.mail.ip import IPAddress, IPNetwork
from qpsmtpd.testing import FakeConfig

addresses = st.ip_addresses()


@pytest.mark.parametrize(
    ("entry", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.", "192.0.2.0/24"),
        ("192.0.", "192.0.0.0/16"),
        ("10.", "10.0.0.0/8"),
        ("192.0.2.0/25", "192.0.2.0/25"),
        ("::ffff:192.0.2.0/121", "192.0.2.0/25"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8:", "2001:db8::/32"),
        ("2001:0db8", "2001:db8::/32"),
        ("2001:0db8:0000:0000", "2001:db8::/64"),
        ("1:2:3:4:5:6:7:", "1:2:3:4:5:6:7:0/112"),
        ("192.0.2.1/24", "192.0.2.0/24"),
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("::ffff:192.0.2.1/121", "192.0.2.0/25"),
    ],
)
def test_entries(entry: str, network: str) -> None:
    assert parse_hosts(entry) == ipaddress.ip_network(network)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "192.0",
        "192",
        "300.",
        "192.0.2.1.",
        "010.",
        "192.0.2.0/33",
        "2001:db8",
        "2001",
        "1:2:3:4:5:6:7:8:",
        "2001:db8::/129",
        "example.com",
        "*",
        "٣.",
    ],
)
def test_wrong_entries(entry: str) -> None:
    with pytest.raises(ValueError, match=r"appear|is not an address|not permitted|Leading"):
        parse_hosts(entry)


@given(st.text(alphabet="0123456789abcdef:./ "))
def test_any_entry_is_a_network_or_a_value_error(entry: str) -> None:
    try:
        network = parse_hosts(entry)
    except ValueError:
        return
    assert network.network_address in HostList([network])


@given(st.lists(addresses, max_size=5), st.integers(0, 32), addresses)
def test_a_list_holds_what_its_networks_hold(
    hosts: list[IPAddress], bits: int, address: IPAddress
) -> None:
    networks = [ipaddress.ip_network(f"{host}/{bits}", strict=False) for host in hosts]
    for asked in (address, *hosts):
        assert (asked in HostList(networks)) == any(asked in network for network in networks)


@given(st.ip_addresses(v=4), st.integers(1, 3))
def test_an_ipv4_prefix_holds_what_begins_with_it(
    address: ipaddress.IPv4Address, parts: int
) -> None:
    prefix = ".".join(str(address).split(".")[:parts]) + "."
    assert address in HostList([parse_hosts(prefix)])


def test_versions_are_kept_apart() -> None:
    assert ipaddress.ip_address("::1") not in HostList([parse_hosts("0.0.0.0/8")])
    assert ipaddress.ip_address("0.0.0.1") not in HostList([parse_hosts("::/96")])


def test_truth() -> None:
    assert not HostList()
    assert HostList([parse_hosts("10.")])


async def test_all_wrong_lines_are_named() -> None:
    config = FakeConfig({"relayclients": ["10.", "10", "11.", "10.0.0.0/99"]})
    with pytest.raises(ConfigError, match=r"relayclients:2: '10' is not an address") as caught:
        await read_hosts(config, "relayclients")
    assert [error.where for error in caught.value.parts] == ["relayclients:2", "relayclients:4"]
    assert not await read_hosts(config, "none")


async def test_beginnings_without_a_dot() -> None:
    config = FakeConfig({"dnsbl_allow": ["192.0.2", "10", "2001:db8:"]})
    hosts = await read_hosts(config, "dnsbl_allow", dotless=True)
    found = [ipaddress.ip_address(ip) in hosts for ip in ("192.0.2.9", "192.0.20.1", "10.1.1.1")]
    assert found == [True, False, True]
    with pytest.raises(ConfigError) as caught:
        await read_hosts(config, "dnsbl_allow")
    assert len(caught.value.parts) == 2


async def test_what_is_odd_is_warned_of() -> None:
    entries = ["10.0.0.0/8", "192.0.2.1/24", "2001:DB8::1/32", "192.0.2.1/32"]
    config = FakeConfig({"relayclients": entries})
    assert ipaddress.ip_address("192.0.2.9") in await read_hosts(config, "relayclients")
    assert config.warnings == [
        "relayclients:2: '192.0.2.1/24' has host bits and is taken for 192.0.2.0/24",
        "relayclients:3: '2001:DB8::1/32' has host bits and is taken for 2001:db8::/32",
    ]


async def test_a_check_of_entries() -> None:
    def check(network: IPNetwork) -> None:
        if network.prefixlen < 8:
            raise ValueError("too large")

    config = FakeConfig({"relayclients": ["0.0.0.0/0", "10.", "::/0"]})
    with pytest.raises(ConfigError, match="relayclients:1: too large") as caught:
        await read_hosts(config, "relayclients", check)
    assert len(caught.value.parts) == 2
