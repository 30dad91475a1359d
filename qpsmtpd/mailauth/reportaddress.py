# SPDX-License-Identifier: MIT
"""Where DMARC reports go: the URIs of a record, and whether their owners want them (RFC 9990).

A domain may have its reports sent to another organization, which has to agree in the DNS.  Without
that, anybody could have the whole world send reports to a victim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from qpsmtpd.errors import AddressError
from qpsmtpd.mail.address import Address, parse_mailbox
from qpsmtpd.mailauth.dmarc import Evaluation
from qpsmtpd.mailauth.dmarcrecord import is_dmarc_record, parse_record
from qpsmtpd.mailauth.dnsnames import is_askable
from qpsmtpd.plugin.services import Resolver

#: Destinations of one report; more are ignored.
MAX_DESTINATIONS = 3

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_size = re.compile(r"(\d{1,9})([kmgt]?)", re.ASCII | re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a report goes; `limit` is the most octets that a mail may have there, 0 for any."""

    address: Address
    limit: int = 0

    @property
    def host(self) -> str:
        """The domain that gets it."""
        return self.address.domain or ""


def read_destination(uri: str) -> Destination | None:
    """What a URI of the tag rua means; None if it is not a mailto: that we can use.

    `mailto:a@example.org!10m` has a limit.  Addresses beyond ASCII and address literals are none.
    """
    uri, exclamation, size = uri.strip().partition("!")
    scheme, _, rest = uri.partition(":")
    match = _size(size.strip())
    if scheme.lower() != "mailto" or (exclamation and not match):
        return None
    try:
        address = parse_mailbox(unquote(rest.partition("?")[0], errors="strict"))
    except (AddressError, UnicodeDecodeError):
        return None
    if address.has_literal or not address.domain:
        return None
    limit = int(match[1]) << _UNITS[match[2].lower()] if match else 0
    return Destination(address, limit)


def read_destinations(uris: Iterable[str]) -> list[Destination]:
    """Those of several URIs that can be used, each address once."""
    found = (read_destination(uri) for uri in uris)
    return list({each.address.key: each for each in found if each is not None}.values())


async def agreed(uris: Iterable[str], domain: str, resolver: Resolver) -> list[Destination]:
    """The destinations for reports about a domain that want them, in the order of the URIs.

    Raises DnsError if it is not known whether one of them does.
    """
    found: dict[str, Destination] = {}
    for wanted in read_destinations(uris)[:MAX_DESTINATIONS]:
        for each in await _agreed(wanted, domain, resolver):
            found.setdefault(each.address.key, each)
    return list(found.values())[:MAX_DESTINATIONS]


async def _agreed(wanted: Destination, domain: str, resolver: Resolver) -> list[Destination]:
    """A destination if it wants reports about the domain, or what it puts in its place."""
    if await _are_of_one(wanted.host, domain, resolver):
        return [wanted]
    name = f"{domain}._report._dmarc.{wanted.host}"
    texts = await resolver.txt(name) if is_askable(name) else []
    records = [parse_record(text) for text in texts if is_dmarc_record(text)]
    if not records:
        return []
    overriding = [uri for record in records for uri in record.get("rua").split(",") if uri.strip()]
    if not overriding:
        return [wanted]
    instead = read_destinations(overriding)
    # To a third party nothing is sent, nor to who names it.
    return instead if all(each.host == wanted.host for each in instead) else []


async def _are_of_one(host: str, domain: str, resolver: Resolver) -> bool:
    """Whether two domains belong to one organization."""
    if host == domain:
        return True
    ours = await Evaluation(domain, resolver).organization(domain)
    return ours == await Evaluation(host, resolver).organization(host)
