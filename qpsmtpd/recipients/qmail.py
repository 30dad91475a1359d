# SPDX-License-Identifier: MIT
"""qmail-deliverabled: the daemon of the Perl distribution Qmail::Deliverable, asked by HTTP.

`GET /qd1/deliverable?user%40example.com` is answered with a number (the module's documentation
has the list), or with 204 for an address that it cannot read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from qpsmtpd.mail.address import Address
from qpsmtpd.plugin.place import Place
from qpsmtpd.recipients.table import DOCTORS_PATIENCE
from qpsmtpd.scanners.http import exchange
from qpsmtpd.scanners.service import converse
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

PORT = 8998

NOT_DELIVERABLE = 0x00
MAILING_LIST = 0x14

#: What its numbers mean.  Only the first is a no.
MEANINGS: Mapping[int, str] = {
    NOT_DELIVERABLE: "not deliverable",
    0x11: "cannot be told: a file is not readable",
    0x12: "cannot be told: a command in .qmail",
    0x13: "cannot be told: bouncesaying with a program",
    MAILING_LIST: "a mailing list of ezmlm",
    0x21: "not deliverable now: the home directory is writable for others",
    0x22: "not deliverable now: the home directory is sticky",
    0xF1: "deliverable",
    0xF2: "deliverable: a directory of vpopmail",
    0xF3: "deliverable: an alias of vpopmail",
    0xF4: "deliverable: the catch-all of vpopmail",
    0xF5: "deliverable: a user of vpopmail",
    0xF6: "deliverable: an extension of a user of vpopmail",
    0xFE: "cannot be told: vpopmail does not know the domain",
    0xFF: "the domain is not local",
}

#: What the client library has for its own failures.
_FAILURE = 0x2F

_number = re.compile(rb"\s*([0-9]{1,3})\s*").fullmatch
_route = re.compile(r"([^:\s]*):\[?([^\]:\s]*)").match


async def ask(wire: ScannerWire, host: str, address: Address) -> int | None:
    """What it says about an address; None if it cannot read it.  Raises ScannerError."""
    text = f"{address.local_part}@{address.domain}"
    path = f"/qd1/deliverable?{quote(text, safe='', errors='surrogateescape')}"
    response = await exchange(wire, "GET", path, [("Host", host)])
    if response.status == 204:
        return None
    if response.status != 200:
        raise ScannerError(f"answers HTTP status {response.status}")
    return parse_number(response.content)


async def ask_once(place: Place, address: Address) -> int | None:
    """As `ask`, on a connection of one's own, for the doctor."""
    deadline = asyncio.get_running_loop().time() + DOCTORS_PATIENCE
    return await converse(place, lambda wire: ask(wire, str(place), address), deadline)


def parse_number(content: bytes) -> int:
    """The number that is the answer.  Raises ScannerError."""
    found = _number(content)
    number = int(found[1]) if found else 256
    if number > 255 or number == _FAILURE:
        raise ScannerError("does not answer with a number of qmail-deliverabled")
    return number


class Routes:
    """Hosts by domain, as qmail's control file smtproutes has them."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Lines that are not routes mean nothing, as for qmail."""
        found = filter(None, map(_route, lines))
        self._hosts = {match[1].lower(): match[2] for match in found}

    @property
    def hosts(self) -> set[str]:
        """All hosts."""
        return set(self._hosts.values()) - {""}

    def host(self, domain: str) -> str:
        """The host for a domain; "" for none, or for that which its MX records name."""
        labels = domain.split(".")
        suffixes = (f".{'.'.join(labels[n:])}" for n in range(len(labels)))
        names = (domain, *suffixes, "")
        return next((self._hosts[name] for name in names if name in self._hosts), "")
