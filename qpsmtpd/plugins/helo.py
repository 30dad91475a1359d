# SPDX-License-Identifier: MIT
"""helo: refuse clients by the name they give in HELO or EHLO.

    helo [policy lenient|rfc|strict] [reject ...] [reject_type ...]
         [timeout 5]

A name that fails a test is refused with 550 5.7.1 and the connection closed, unless `reject_type`
says otherwise; the client loses a point of karma. A name fails

- under every policy: if it is in the file `badhelo`; if it is `localhost`, but the client is
  another machine; if it is an address literal (`[192.0.2.1]`) with another address than the
  client's, or a malformed one; if it is an address without brackets, or numbers with dots between
  them (`127.1`). A literal with a private address, as clients behind NAT send it, passes.
- under the policies rfc and strict: if it has no dot, or forbidden characters; if it has no address
  in the DNS; if the client's address has no name in the DNS.
- under the policy strict: if it is an address literal; if it is unrelated to the client: none of
  its addresses is in the client's network (/24, for IPv6 /96), and no name of the client's address
  is in its domain (the last two labels); such a name counts only if it has that address itself. A
  client with both gains a point of karma.

An entry of `badhelo`, one a line, is a name or, recognized by one of `{}[]()^$|*+?\\!`, a regular
expression that is searched for in the name; with ! in front, names in which it is not found are
refused. An invalid expression is an error, at start. Neither case nor a final dot matters, and
either spelling of an international name stands for both.

Exempt clients are not tested. All questions to the DNS are asked at once; nobody is refused for
what it does not answer within `timeout`. The message gets the field X-HELO with the name, in which
question marks replace what is not printable ASCII.

Differences from the Perl version: there `reject_type` was ignored, the client's own literal was
refused and not those of others, a final dot, or an odd way to write an address, got past the tests,
and the owner of an address could give it somebody else's name. A failure of the DNS refuses nobody;
IPv6 addresses count.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from qpsmtpd.api import (
    DnsError,
    HelloList,
    HostList,
    IPAddress,
    Plugin,
    RejectOptions,
    Seconds,
    Session,
    Transaction,
    Verdict,
    canonical_domain,
    literal_address,
    looks_like_address,
    made_of,
    opt,
    parse_hosts,
    parse_ip,
    printable_ascii,
    time_limit,
)

_is_full_name = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+\.?", re.IGNORECASE).fullmatch

#: Networks that exist in many places, so that an address in them identifies nobody (RFC 1918,
#: RFC 3927, RFC 6598, RFC 4193, RFC 4291 section 2.5.6).
_PRIVATE = HostList(
    map(
        parse_hosts,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)

_NETWORK_BITS = {4: 24, 6: 96}


@dataclass(frozen=True, kw_only=True)
class HeloOptions(RejectOptions):
    """Options of helo."""

    policy: Literal["lenient", "rfc", "strict"] = opt("lenient", doc="Which tests are made.")
    timeout: Seconds = opt(
        Seconds(5), doc="How long the DNS may take to answer.", was=("dns_timeout",)
    )


class Helo(Plugin[HeloOptions]):
    """The tests of the client's name."""

    files = {"badhelo": "Names in HELO and EHLO that are refused, or regular expressions."}

    async def start(self) -> None:
        entries = await self.services.config.entries("badhelo")
        self._bad = await made_of(entries, partial(HelloList, patterns=True))

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        if self.immune(session):
            return None
        if not host:
            session.adjust_karma(-2)
            return None
        problem = self._bad_name(session, host) or await self._bad_dns(session, host)
        if not problem:
            return None
        session.adjust_karma(-1)
        return self.reject(
            session,
            problem,
            status="5.7.1",
            default="disconnect",
            reason=f"{problem}: {host!r}",
        )

    hook_ehlo = hook_helo

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is not None and tx.session.hello_host:
            tx.message.headers.remove("X-HELO")
            tx.message.headers.prepend("X-HELO", printable_ascii(tx.session.hello_host))
        return None

    def _bad_name(self, session: Session, host: str) -> str:
        """What is wrong with a name, as far as this shows without the DNS; "" when nothing is."""
        if host in self._bad:
            return "Your HELO name is not accepted here"
        name = canonical_domain(host)
        if name == "localhost" and not session.client_is_local:
            return "You are not localhost"
        if looks_like_address(name):
            return "The address in your HELO lacks its brackets"
        literal = literal_address(name)
        if literal is not None:
            return self._bad_literal(session, literal)
        if _is_malformed_literal(name):
            return "The address literal in your HELO is malformed"
        if self.options.policy != "lenient" and not _is_full_name(host):
            return "Your HELO name is not fully qualified"
        return ""

    def _bad_literal(self, session: Session, literal: IPAddress) -> str:
        if literal != session.client_address and literal not in _PRIVATE:
            return "The address in your HELO is not yours"
        if self.options.policy == "strict":
            return "Address literals in HELO are not accepted here"
        return ""

    async def _bad_dns(self, session: Session, host: str) -> str:
        """What the DNS says against a name; "" when it says nothing against it, or fails."""
        if self.options.policy == "lenient":
            return ""
        resolver = self.services.resolver
        # The resolver asks nobody about "".
        name = "" if literal_address(host) else canonical_domain(host)
        names, a, aaaa = await asyncio.gather(
            self._answer(resolver.ptr(session.client.ip)),
            self._answer(resolver.a(name)),
            self._answer(resolver.aaaa(name)),
        )
        if name and a == [] and aaaa == []:
            return "Your HELO name does not resolve"
        if names == []:
            return "Your IP address has no name in the DNS"
        if self.options.policy != "strict" or None in (names, a, aaaa):
            return ""
        return await self._unrelated(session, host, names or [], [*(a or []), *(aaaa or [])])

    async def _unrelated(
        self, session: Session, host: str, names: list[str], addresses: list[str]
    ) -> str:
        client = session.client_address
        forward = any(_same_network(parse_ip(address), client) for address in addresses)
        related = [name for name in names if _domain(name) == _domain(host)]
        confirmed = self.services.resolver.confirmed(session.client.ip, related)
        backward = await self._answer(confirmed)
        if forward and backward:
            session.adjust_karma(1)
        unrelated = not forward and backward == []
        return "Your HELO name does not match your IP address" if unrelated else ""

    async def _answer(self, question: Awaitable[list[str]]) -> list[str] | None:
        """The answer; None when there is none in time."""
        try:
            with time_limit(self.options.timeout):
                return await question
        except (DnsError, TimeoutError):
            return None


def _is_malformed_literal(name: str) -> bool:
    """Whether brackets hold something meant as an address; asked of names that are not literals."""
    inner = name.strip("[]")
    return inner != name and (
        ":" in inner or inner.replace(".", "").isdecimal() or looks_like_address(inner)
    )


def _same_network(one: IPAddress, other: IPAddress) -> bool:
    bits = one.max_prefixlen - _NETWORK_BITS[one.version]
    return one.version == other.version and int(one) >> bits == int(other) >> bits


def _domain(name: str) -> str:
    return ".".join(canonical_domain(name).split(".")[-2:])
