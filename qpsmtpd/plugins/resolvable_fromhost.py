# SPDX-License-Identifier: MIT
"""resolvable_fromhost: refuse senders whose domain cannot receive a bounce.

    resolvable_fromhost [reject ...] [reject_type ...] [timeout 30]

At MAIL the domain of the sender must have

- MX records of which at least one leads to an address, or
- no MX records, but an address of its own; the client then loses a point of karma.

Addresses in the networks of the file `invalid_resolvable_fromhost` (one a line, such as
`10.0.0.0/8` or `fc00::/7`) do not count. Otherwise the client loses a point of karma and the sender
is refused with 450 4.1.8; `reject_type perm` makes it 550 5.1.8. For a domain that says that it
accepts no mail (null MX, RFC 7505) the status is 4.7.27 or 5.7.27. An IP address without brackets
is not a domain.

If a lookup fails or takes longer than `timeout`, and nothing else was found, the client is told
with 450 4.4.3 to try again later, whatever `reject_type` says. `reject 0` only logs.

Exempt clients, the null sender and address literals are not tested.

Differences from the Perl version: a failure of the DNS never gives 550, and a domain that does not
exist is not reported as a temporary failure; the invalid networks count for domains without MX as
well; all addresses of an MX are tried, IPv6 too; a null MX is recognized.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass

from qpsmtpd.api import (
    Address,
    DnsError,
    HostList,
    Plugin,
    RejectOptions,
    ReversePath,
    Seconds,
    Transaction,
    Verdict,
    defer,
    looks_like_address,
    opt,
    parse_ip,
    read_hosts,
    time_limit,
)

# A domain with more of them is hardly serious; each costs us two questions.
_MAX_MX_HOSTS = 10


@dataclass(frozen=True, kw_only=True)
class ResolvableFromhostOptions(RejectOptions):
    """Options of resolvable_fromhost."""

    timeout: Seconds = opt(Seconds(30), doc="How long all lookups together may take.")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a domain is refused: text, enhanced status."""

    text: str
    status: str


_NO_DOMAIN = Problem("Sender address needs a fully qualified domain name", "5.1.8")
_NULL_MX = Problem("Sender's domain does not accept mail (null MX)", "5.7.27")
_NO_ADDRESS = Problem("Sender's domain does not resolve", "5.1.8")
_BAD_MX = Problem("No MX of the sender's domain has a usable address", "5.1.8")


class ResolvableFromhost(Plugin[ResolvableFromhostOptions]):
    """The test of the sender's domain."""

    files = {"invalid_resolvable_fromhost": "Networks in which a sender's mail server cannot be."}

    async def start(self) -> None:
        self._invalid: HostList = await read_hosts(
            self.services.config, "invalid_resolvable_fromhost"
        )

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or self.immune(tx.session):
            return None
        try:
            with time_limit(self.options.timeout):
                problem = await self._problem(tx, sender)
        except (DnsError, TimeoutError) as error:
            return self._unknown(error)
        if problem is None:
            return None
        tx.session.adjust_karma(-1)
        return self.reject(
            tx.session,
            problem.text,
            status=problem.status,
            default="soft",
            reason=f"{problem.text}: {sender.domain!r}",
        )

    async def _problem(self, tx: Transaction, sender: Address) -> Problem | None:
        """What is wrong with a domain.  Raises DnsError when that cannot be known."""
        domain = sender.domain
        if domain is None or looks_like_address(domain):
            return _NO_DOMAIN
        if sender.has_literal:
            tx.session.adjust_karma(-1)
            return None
        records = await self.services.resolver.mx(domain)
        hosts = [host for _, host in records if host]
        if hosts:
            return None if await self._any_usable(hosts) else _BAD_MX
        if records:
            return _NULL_MX
        tx.session.adjust_karma(-1)
        return None if await self._any_usable([domain]) else _NO_ADDRESS

    async def _any_usable(self, hosts: list[str]) -> bool:
        """Whether a host has a usable address.  Raises DnsError when that cannot be known."""
        resolver = self.services.resolver
        hosts = hosts[:_MAX_MX_HOSTS]
        if any(self._usable(host) for host in hosts if _is_address(host)):
            return True
        questions = [ask(host) for host in hosts for ask in (resolver.a, resolver.aaaa)]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        if any(self._usable(address) for addresses in found for address in addresses):
            return True
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return False

    def _usable(self, address: str) -> bool:
        return parse_ip(address) not in self._invalid

    def _unknown(self, error: Exception) -> Verdict | None:
        self.log.info("fail reason=%r", str(error) or "timeout")
        if self.options.reject == "0":
            return None
        return defer("Sender's domain cannot be looked up now, try again later", status="4.4.3")


def _is_address(host: str) -> bool:
    if ":" not in host and not host[-1:].isdecimal():
        # As nearly all: no top-level domain ends with a digit.
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
