# SPDX-License-Identifier: MIT
"""DnsList: asks one DNS list (RFC 5782) and judges its answer.

An entry is listed if every address in the answer is a code in 127.0.0.0/8.  127.0.0.1 and
127.255.255.0/24 are not codes (RFC 5782 section 5; lists use them to say that they are closed, or
that the name server asks too much), nor is any address outside that network, such as an expired
domain with a wildcard gives: then the list is in error, and nothing counts as listed.  Nor does
anything if the lookup fails, or if the list has what it must never have: some that are closed have
everybody.  That is asked when a list has somebody, and believed for an hour.

Every client waits for an answer, so a list that has not answered three times in a row is down: it
is not asked, but for one question every now and then (see plugin/breaker.py).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable

from qpsmtpd.errors import DnsError, PeerError
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.services import Clock, Resolver

log = logging.getLogger(__name__)

_CODES = "127."
_REFUSALS = "127.255.255."
_NOT_LISTED = "127.0.0.1"
_WARN_SECONDS = 3600
_CHECK_SECONDS = 3600
#: Seconds after which it is the list's fault that nobody waits any more.
_SLOW = 5
_MAX_REASON = 200


def reversed_address(ip: str) -> str:
    """The octets of an IPv4 address, or the nibbles of an IPv6 address, last one first.

    Raises ValueError when it is not an address.
    """
    try:
        return "{3}.{2}.{1}.{0}".format(*socket.inet_pton(socket.AF_INET, ip))
    except OSError:
        pointer = parse_ip(ip).reverse_pointer
    return pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def are_codes(addresses: Iterable[str]) -> bool:
    """Whether all addresses are codes that stand for a listing."""
    return all(
        address.startswith(_CODES) and not address.startswith(_REFUSALS) and address != _NOT_LISTED
        for address in addresses
    )


class DnsList:
    """One list.  What is wrong with its answers is logged once an hour."""

    def __init__(self, zone: str, resolver: Resolver, clock: Clock, *, unlisted: str = "") -> None:
        """`unlisted`: an entry that no list has (RFC 5782 section 5); "" if none is to be tried."""
        self.zone = canonical_domain(zone.strip("."))
        self._resolver = resolver
        self._clock = clock
        self._warned: float | None = None
        self._unlisted = unlisted
        self._breaker = Breaker(clock, "DNS list", self.zone)
        #: Until when the list is known to have not everybody, or is not asked as it has.
        self._sane_until = self._off_until = 0.0

    async def codes(self, entry: str) -> list[str]:
        """The codes under which `entry` is listed: a domain, or a `reversed_address`.

        Empty if it is not listed, or the list fails.
        """
        began = self._clock.monotonic()
        if self._off_until > began or not self._breaker.may_try():
            return []
        try:
            answers = await self._codes(entry)
        except DnsError as error:
            self._breaker.failed(PeerError(str(error)))
            return []
        except asyncio.CancelledError:
            if (seconds := self._clock.monotonic() - began) >= _SLOW:
                self._breaker.failed(PeerError(f"no answer within {seconds:.0f}s"))
            raise
        self._breaker.worked()
        return answers

    async def _codes(self, entry: str) -> list[str]:
        """The same.  Raises DnsError."""
        answers = await self._resolver.a(self._name(entry))
        if not are_codes(answers):
            self._warn(f"answers {', '.join(answers)}")
            return []
        return answers if not answers or await self._is_sane() else []

    async def reason(self, entry: str) -> str:
        """What the list says about a listed entry, in printable ASCII; "" when it says nothing."""
        try:
            texts = await self._resolver.txt(self._name(entry))
        except DnsError:
            return ""
        return printable_ascii("".join(texts[:1]), _MAX_REASON).strip()

    async def _is_sane(self) -> bool:
        """Whether the list does not have what it must not have.  Raises DnsError."""
        now = self._clock.monotonic()
        if not self._unlisted or now < self._sane_until:
            return True
        if await self._resolver.a(self._name(self._unlisted)):
            self._off_until = now + _CHECK_SECONDS
            self._warn("it lists everybody; it is not asked for an hour")
            return False
        self._sane_until = now + _CHECK_SECONDS
        return True

    def _name(self, entry: str) -> str:
        return f"{canonical_domain(entry)}.{self.zone}"

    def _warn(self, problem: str) -> None:
        now = self._clock.monotonic()
        if self._warned is None or now - self._warned >= _WARN_SECONDS:
            self._warned = now
            log.warning("list=%s is in error, nobody is listed: %s", self.zone, problem)
