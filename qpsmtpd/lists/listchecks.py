# SPDX-License-Identifier: MIT
"""List checks: the self-tests of DNS lists (RFC 5782 section 5), for `examine` of plugins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from qpsmtpd.errors import DnsError
from qpsmtpd.lists.dnslists import are_codes
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Resolver

#: Seconds for one lookup.
TIMEOUT = 6.0

#: What every list must list, and must never list: lists of clients, lists of domains.
CLIENTS = ("2.0.0.127", "1.0.0.127")
DOMAINS = ("test", "invalid")

#: The heading in the doctor's report.
_AREA = "DNS"


async def check_lists(
    resolver: Resolver,
    zones: Iterable[str],
    tests: tuple[str, str],
    file: str,
    *,
    idle_without: bool = False,
) -> AsyncIterator[Finding]:
    """Whether lists list what they must, and not what they must not; all are asked at once.

    tests: CLIENTS or DOMAINS.  file: the file with the zones.
    idle_without: whether a plugin without any list does nothing, which is worth a word.
    """
    found = await asyncio.gather(*(_check(resolver, zone, tests, file) for zone in zones))
    for finding in found:
        yield finding
    if idle_without and not found:
        text = "names no list, so nothing is looked up or refused"
        yield Finding.notice(f"file {file}", text, area=_AREA)


async def _check(resolver: Resolver, zone: str, tests: tuple[str, str], file: str) -> Finding:
    listed, unlisted = (f"{entry}.{zone}" for entry in tests)
    remedy = f"If this persists, remove the list from the file {file}."
    try:
        async with asyncio.timeout(TIMEOUT):
            codes, wrong = await asyncio.gather(resolver.a(listed), resolver.a(unlisted))
    except (DnsError, TimeoutError) as failure:
        text = f"does not answer: {str(failure) or 'no answer in time'}"
        return Finding.warning(f"list {zone}", text, remedy, area=_AREA)
    return _judge(f"list {zone}", codes, wrong, remedy, of_clients=tests is CLIENTS)


def _judge(
    subject: str, codes: Sequence[str], wrong: Sequence[str], remedy: str, *, of_clients: bool
) -> Finding:
    if wrong and are_codes(wrong):
        text = "lists everybody (RFC 5782 section 5)"
        return Finding.error(subject, text, remedy, area=_AREA)
    if codes and not are_codes(codes):
        text = f"refuses our questions: it answers {', '.join(codes)}"
        advice = "Many lists refuse questions from public name servers; use one of your own."
        return Finding.warning(subject, text, advice, area=_AREA)
    if not codes:
        # Lists of domains often lack the test entry; those of clients hardly ever do.
        finding = Finding.warning if of_clients else Finding.notice
        text = "does not list its test entry (RFC 5782 section 5): it may be closed"
        return finding(subject, text, remedy, area=_AREA)
    return Finding.ok(subject, "lists its test entry, and not everybody", area=_AREA)
