# SPDX-License-Identifier: MIT
"""ClientList: clients by address, by name or by an expression for names, as postgrey lists them.

    192.0.2.1            an address, a network, or the beginning of an address (192.0.2)
    example.com          this name, and all names below it
    /^mta\\d+\\.example/   a regular expression that is searched for in the name

Whoever asks passes a name that the DNS has confirmed: anybody can claim any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from qpsmtpd.lists.domains import DomainList
from qpsmtpd.lists.hosts import HostList, parse_hosts
from qpsmtpd.lists.lines import read_each
from qpsmtpd.lists.patterns import Pattern
from qpsmtpd.mail.domain import domain_spellings
from qpsmtpd.mail.ip import IPAddress, IPNetwork
from qpsmtpd.plugin.services import Entry

_is_beginning = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}", re.ASCII).fullmatch
_is_expression = re.compile(r"/.+/").fullmatch


class ClientList:
    """The clients of such a list.  Raises ConfigError for entries that are none of these."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        networks: list[IPNetwork] = []
        names: list[Entry] = []
        patterns: list[Entry] = []
        for entry in entries:
            network = _network(entry.text)
            if network is not None:
                networks.append(network)
            else:
                (patterns if _is_expression(entry.text) else names).append(entry)
        self._hosts = HostList(networks)
        below = [Entry(f".{entry.text.removeprefix('.')}", entry.where) for entry in names]
        self._names = DomainList([*names, *below]) if names else None
        self._patterns = read_each(patterns, lambda entry: Pattern(entry.text, entry.where))

    def has_address(self, address: IPAddress) -> bool:
        """Whether a client is listed by its address."""
        return address in self._hosts

    @property
    def has_names(self) -> bool:
        """Whether it matters what name a client has."""
        return self._names is not None or bool(self._patterns)

    def has_name(self, name: str) -> bool:
        """Whether a client is listed by its confirmed name."""
        if self._names is not None and name in self._names:
            return True
        spellings = domain_spellings(name)
        return any(pattern.admits(spellings) for pattern in self._patterns)


def _network(text: str) -> IPNetwork | None:
    """The network that an entry stands for; None for a name."""
    try:
        return parse_hosts(f"{text}." if _is_beginning(text) else text)
    except ValueError:
        return None
