# SPDX-License-Identifier: MIT
"""DNS checks: whether the name servers answer, and whether our own name is right."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qpsmtpd.config.hostname import is_full
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.errors import DnsError
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Resolver

T = TypeVar("T")

#: Seconds for one lookup.
TIMEOUT = 6.0

#: A name that has addresses wherever the public DNS can be asked.
_WELL_KNOWN = "a.root-servers.net"


def check_dns(installation: Installation) -> list[Finding]:
    """The daemon's resolver, our name, and what the plugins found, if the resolver works."""
    return asyncio.run(_check(installation))


async def _check(installation: Installation) -> list[Finding]:
    try:
        resolver = installation.resolver()
    except (OSError, ValueError) as failure:
        advice = "Check /etc/resolv.conf and QPSMTPD_RESOLVER."
        return [Finding.error("name servers", str(failure), advice)]
    try:
        return await _ask(installation, resolver)
    finally:
        # Only the real one has something to close.
        close: Callable[[], Awaitable[None]] | None = getattr(resolver, "close", None)
        if close is not None:
            await close()


async def _ask(installation: Installation, resolver: Resolver) -> list[Finding]:
    me = installation.settings.me
    short = [] if is_full(me) else [_short(me)]
    first = await _name_servers(resolver)
    if first.severity:
        return [first, *short]
    name = short or [await _our_name(resolver, me)]
    return [first, *name, *installation.found("DNS")]


def _short(me: str) -> Finding:
    text = "is not a full name, and other servers refuse or distrust such a greeting"
    advice = (
        "Write this machine's full name into the file me, or into /etc/hosts before the short one."
    )
    return Finding.warning(f"name {me}", text, advice)


async def _in_time(lookup: Awaitable[T]) -> T:
    """The answer.  Raises DnsError if there is none in time."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await lookup
    except TimeoutError:
        raise DnsError("no answer in time") from None


async def _name_servers(resolver: Resolver) -> Finding:
    try:
        found = await _in_time(resolver.a(_WELL_KNOWN))
    except DnsError as failure:
        text = f"nobody answers ({failure})"
        advice = "Check /etc/resolv.conf, and whether a firewall lets DNS queries out."
        return Finding.warning("name servers", text, advice)
    if not found:
        text = f"say that {_WELL_KNOWN} does not exist, so they do not ask the public DNS"
        return Finding.notice("name servers", text)
    return Finding.ok("name servers", "answer")


async def _our_name(resolver: Resolver, me: str) -> Finding:
    """Whether the name in our greeting leads to an address, and back."""
    subject = f"name {me}"
    try:
        answers = [await _in_time(resolver.a(me)), await _in_time(resolver.aaaa(me))]
        addresses = [address for found in answers for address in found]
        names = {address: await _in_time(resolver.ptr(address)) for address in addresses}
    except DnsError as failure:
        return Finding.warning(subject, str(failure))
    if not addresses:
        advice = "Write this machine's public name into the file me, or add this name to the DNS."
        return Finding.notice(subject, "has no address in the DNS", advice)
    one_way = [address for address, found in names.items() if not _has(found, me)]
    public = [address for address in one_way if ipaddress.ip_address(address).is_global]
    if public:
        text = f"the reverse lookup of {', '.join(public)} does not lead back to it"
        advice = "This matters for outgoing mail; ask your provider to set the reverse name."
        return Finding.notice(subject, text, advice)
    return Finding.ok(subject, f"leads to {', '.join(addresses)}")


def _has(names: list[str], wanted: str) -> bool:
    return wanted.rstrip(".").lower() in {name.rstrip(".").lower() for name in names}
