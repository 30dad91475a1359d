# SPDX-License-Identifier: MIT
"""HostList: lists of client addresses, as the files relayclients, dnsbl_allow and others hold them.

An entry is an address, a network in CIDR notation, or a prefix that ends with the separator:
`192.0.2.1`, `192.0.2.0/24`, `192.0.`, `2001:db8::/32`, `2001:db8:`.  An IPv6 prefix of whole groups
without the final colon is understood too, as the Perl version required: `2001:0db8`.  A network
with host bits stands for the whole network, but deserves a warning; see `oddity_of_hosts`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import made_of, read_each
from qpsmtpd.mail.ip import IPAddress, IPNetwork, parse_ip
from qpsmtpd.plugin.services import Config, Entry

_IPV4_PREFIX = re.compile(r"(?:\d{1,3}\.){1,3}", re.ASCII)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_DOTLESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}", re.ASCII)
_IPV6_PREFIX = re.compile(r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}:|(?:[0-9a-f]{4}:){1,6}[0-9a-f]{4}")


class HostList:
    """A set of addresses, given as networks; `address in hosts` asks whether it is in one."""

    def __init__(self, networks: Iterable[IPNetwork] = ()) -> None:
        # One hash lookup per prefix length in use, however long the list.
        self._networks: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            bits = network.max_prefixlen - network.prefixlen
            first = int(network.network_address) >> bits
            self._networks.setdefault((network.version, bits), set()).add(first)

    def __contains__(self, address: IPAddress) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> bits in firsts
            for (version, bits), firsts in self._networks.items()
        )

    def __bool__(self) -> bool:
        return bool(self._networks)


def parse_hosts(text: str) -> IPNetwork:
    """The network that an entry stands for.  Raises a ValueError that says what would be right."""
    entry = text.lower()
    if _IPV4_PREFIX.fullmatch(entry):
        return _ipv4_prefix(entry)
    if _IPV6_PREFIX.fullmatch(entry):
        return _ipv6_prefix(entry)
    try:
        if "/" in entry:
            return _canonical_network(ipaddress.ip_network(entry, strict=False))
        return ipaddress.ip_network(parse_ip(entry))
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address (192.0.2.1), a network (192.0.2.0/24, 2001:db8::/32) or a "
            "prefix with its final separator (192.0.2., 2001:db8:)"
        ) from None


def oddity_of_hosts(text: str) -> str:
    """What an entry with host bits is taken for; "" for any other entry."""
    network = parse_hosts(text)
    address, slash, _ = text.partition("/")
    host_bits = slash and parse_ip(address) != network.network_address
    return f"{text!r} has host bits and is taken for {network}" if host_bits else ""


def _canonical_network(network: IPNetwork) -> IPNetwork:
    """A network; an IPv4 one if all its addresses are IPv4-mapped."""
    if network.prefixlen < _MAPPED.prefixlen or network.network_address not in _MAPPED:
        return network
    first = parse_ip(str(network.network_address))
    return ipaddress.ip_network(f"{first}/{network.prefixlen - _MAPPED.prefixlen}")


def _ipv4_prefix(entry: str) -> IPNetwork:
    parts = entry.split(".")[:-1]
    address = ".".join(parts + ["0"] * (4 - len(parts)))
    return ipaddress.ip_network(f"{address}/{8 * len(parts)}")


def _ipv6_prefix(entry: str) -> IPNetwork:
    groups = entry.removesuffix(":").split(":")
    address = ":".join(groups + ["0"] * (8 - len(groups)))
    return ipaddress.ip_network(f"{address}/{16 * len(groups)}")


async def read_hosts(
    config: Config,
    name: str,
    check: Callable[[IPNetwork], object] = lambda network: None,
    *,
    dotless: bool = False,
) -> HostList:
    """The list in a configuration file.  Raises ConfigError for invalid entries.

    check: raises a ValueError that says what is wrong with an entry.
    dotless: whether the beginning of an IPv4 address may lack its final dot (192.0.2), as in those
      lists of the Perl version that refuse nobody and let nobody relay.
    """

    def read(entry: Entry) -> IPNetwork:
        text = f"{entry.text}." if dotless and _DOTLESS.fullmatch(entry.text) else entry.text
        network = read_network(config, text, entry.where)
        try:
            check(network)
        except ValueError as error:
            raise ConfigError(entry.where, str(error)) from None
        return network

    entries = await config.entries(name)
    return await made_of(entries, lambda lines: HostList(read_each(lines, read)))


def read_network(config: Config, text: str, where: str) -> IPNetwork:
    """The network that an entry stands for; warns if it may be meant in another way.

    Raises ConfigError.
    """
    try:
        network = parse_hosts(text)
    except ValueError as error:
        raise ConfigError(where, str(error)) from None
    if oddity := oddity_of_hosts(text):
        config.warn(where, oddity)
    return network
