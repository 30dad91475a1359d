# SPDX-License-Identifier: MIT
"""Routes: the next hops of domains, from a file with one line each.

    example.com     mail.example.com
    .example.com    mx1.internal,mx2.internal 2525

A leading dot stands for all names below a domain, but not for the domain itself; the longest one
that fits counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import read_each
from qpsmtpd.mail.domain import canonical_domain, is_domain, is_literal
from qpsmtpd.nexthop.hopoptions import is_host
from qpsmtpd.plugin.services import Entry

SMTP_PORT = 25

_is_port = re.compile(r"[0-9]{1,5}").fullmatch


@dataclass(frozen=True, slots=True)
class Destination:
    """The hosts of one next hop, of which the first that works is used, and their port."""

    hosts: tuple[str, ...]
    port: int

    @classmethod
    def of(cls, hosts: str, port: int) -> Destination:
        """From host names or addresses with commas between them."""
        return cls(tuple(host.strip("[]") for host in hosts.split(",")), port)


def are_hosts(text: str) -> bool:
    """Whether a text is host names or addresses with commas between them."""
    return all(map(is_host, text.split(",")))


class Routes:
    """Knows the destination of each domain.  Raises ConfigError for lines that are wrong."""

    def __init__(self, entries: Iterable[Entry], default: Destination) -> None:
        self._default = default
        self._routes: dict[str, Destination] = {}
        read_each(entries, self._add)

    @property
    def destinations(self) -> list[Destination]:
        """All of them, each once; that of all other domains is the first."""
        return list(dict.fromkeys((self._default, *self._routes.values())))

    def of(self, domain: str | None) -> Destination:
        """The destination of a domain in canonical form; None is that of a mere local part."""
        if not self._routes or domain is None:
            return self._default
        if found := self._routes.get(domain):
            return found
        position = domain.find(".")
        while position >= 0:
            if found := self._routes.get(domain[position:]):
                return found
            position = domain.find(".", position + 1)
        return self._default

    def _add(self, entry: Entry) -> None:
        domain, hosts, port, more = [*entry.text.split(maxsplit=3), "", "", ""][:4]
        domain = domain.removesuffix(".")
        name = canonical_domain(domain)
        if not (is_domain(domain.removeprefix(".")) or is_literal(domain)):
            problem = f"{domain!r} is not a domain, nor .DOMAIN for all below it"
        elif not hosts or not are_hosts(hosts) or more:
            problem = "has to be: DOMAIN HOST[,HOST]... [PORT]"
        elif port and not (_is_port(port) and 0 < int(port) < 65536):
            problem = f"{port!r} is not a port"
        else:
            problem = f"{domain} is there twice" if name in self._routes else ""
        if problem:
            raise ConfigError(entry.where, problem)
        self._routes[name] = Destination.of(hosts, int(port or SMTP_PORT))
