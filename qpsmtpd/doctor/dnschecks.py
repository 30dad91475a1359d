# SPDX-License-Identifier: MIT
"""DNS checks: whether the name servers answer, our own name, and the lists that are configured."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.errors import DnsError
from qpsmtpd.lists.dnslists import are_codes
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Resolver

T = TypeVar("T")

#: Seconds for one look-up.
TIMEOUT = 6.0

#: A name that has addresses wherever the public DNS can be asked.
_WELL_KNOWN = "a.root-servers.net"

#: What every list has to list, and never to list (RFC 5782 section 5).
_CLIENTS = ("2.0.0.127", "1.0.0.127")
_DOMAINS = ("test", "invalid")


def check_dns(installation: Installation) -> list[Finding]:
    """The resolver of the daemon, our name, and each list.  All look-ups run at once."""
    return asyncio.run(_check(installation))


async def _check(installation: Installation) -> list[Finding]:
    try:
        resolver = installation.resolver()
    except (OSError, ValueError) as failure:
        return [
            Finding.error(
                "name servers", str(failure), "See /etc/resolv.conf and QPSMTPD_RESOLVER."
            )
        ]
    try:
        return await _ask(installation, resolver)
    finally:
        # Only the real one has something to close.
        close: Callable[[], Awaitable[None]] | None = getattr(resolver, "close", None)
        if close is not None:
            await close()


async def _ask(installation: Installation, resolver: Resolver) -> list[Finding]:
    first = await _name_servers(resolver)
    if first.severity:
        return [first]
    jobs = [_our_name(resolver, installation.settings.me)]
    if installation.plugins("dnsbl"):
        jobs += [
            _list(resolver, zone, "dnsbl_zones") for zone in zones(installation, "dnsbl_zones")
        ]
    if installation.plugins("rhsbl"):
        jobs += [
            _list(resolver, zone, "rhsbl_zones") for zone in zones(installation, "rhsbl_zones")
        ]
    return [first, *(finding for found in await asyncio.gather(*jobs) for finding in found)]


def zones(installation: Installation, file: str) -> list[str]:
    """The zones that a file names, without the texts behind them."""
    lines = installation.files.lines(file)
    names = (line.replace(":", " ").split() for line in lines)
    return [words[0].strip(".").lower() for words in names if words]


async def _in_time(look_up: Awaitable[T]) -> T:
    """The answer.  Raises DnsError when there is none in time."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await look_up
    except TimeoutError:
        raise DnsError("no answer in time") from None


async def _name_servers(resolver: Resolver) -> Finding:
    try:
        found = await _in_time(resolver.a(_WELL_KNOWN))
    except DnsError as failure:
        text = f"nobody answers ({failure})"
        advice = "See /etc/resolv.conf, and whether a firewall lets questions out."
        return Finding.warning("name servers", text, advice)
    if not found:
        text = f"{_WELL_KNOWN} is said not to exist, so the public DNS is not asked"
        return Finding.notice("name servers", text)
    return Finding.ok("name servers", "answer")


async def _our_name(resolver: Resolver, me: str) -> list[Finding]:
    """Whether the name in our greeting leads to an address, and back."""
    subject = f"name {me}"
    try:
        answers = [await _in_time(resolver.a(me)), await _in_time(resolver.aaaa(me))]
        addresses = [address for found in answers for address in found]
        names = {address: await _in_time(resolver.ptr(address)) for address in addresses}
    except DnsError as failure:
        return [Finding.warning(subject, str(failure))]
    if not addresses:
        advice = "Write the name that the world knows into the file me, or make it known."
        return [Finding.notice(subject, "has no address in the DNS", advice)]
    one_way = [address for address, found in names.items() if not _has(found, me)]
    public = [address for address in one_way if ipaddress.ip_address(address).is_global]
    if public:
        text = f"the reverse look-up of {', '.join(public)} does not lead back to it"
        return [
            Finding.notice(subject, text, "It matters for mail that goes out; see your provider.")
        ]
    return [Finding.ok(subject, f"leads to {', '.join(addresses)}")]


def _has(names: list[str], wanted: str) -> bool:
    return wanted.rstrip(".").lower() in {name.rstrip(".").lower() for name in names}


# --- lists ----------------------------------------------------------------------------------


async def _list(resolver: Resolver, zone: str, file: str) -> list[Finding]:
    """Whether a list lists what it has to, and not what it must not (RFC 5782 section 5)."""
    subject = f"list {zone}"
    listed, unlisted = _CLIENTS if file == "dnsbl_zones" else _DOMAINS
    try:
        codes, wrong = await asyncio.gather(
            _in_time(resolver.a(f"{listed}.{zone}")), _in_time(resolver.a(f"{unlisted}.{zone}"))
        )
    except DnsError as failure:
        return [Finding.warning(subject, f"does not answer: {failure}", _remedy(file))]
    return [_judge(subject, file, codes, wrong)]


def _judge(subject: str, file: str, codes: list[Any], wrong: list[Any]) -> Finding:
    if wrong and are_codes(wrong):
        return Finding.error(subject, "lists everybody (RFC 5782 section 5)", _remedy(file))
    if codes and not are_codes(codes):
        text = f"refuses our questions: it answers {', '.join(codes)}"
        advice = "Many lists do so when asked through a public name server; ask through your own."
        return Finding.warning(subject, text, advice)
    if not codes:
        # Lists of domains often lack the test entry; those of clients hardly ever do.
        finding = Finding.warning if file == "dnsbl_zones" else Finding.notice
        text = "does not list its test entry (RFC 5782 section 5): it may be closed"
        return finding(subject, text, _remedy(file))
    return Finding.ok(subject, "lists its test entry, and not everybody")


def _remedy(file: str) -> str:
    return f"Unless this passes, take it out of the file {file}."
