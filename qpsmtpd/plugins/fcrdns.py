# SPDX-License-Identifier: MIT
"""fcrdns: judge clients by whether their name in the DNS has their address (iprev in RFC 8601).

    fcrdns [reject 0|1|naughty] [reject_type ...] [timeout 5]

A client gains a point of karma if a name of its address has that address itself, or if it is this
machine. It loses one, and `reject` says what else becomes of it, if

- its address has no name in the DNS;
- its name is `localhost`, or has no dot;
- none of its names has any address.

A name with another address costs nothing: the machines of large senders often have each other's
names. What the DNS does not answer within `timeout` is not held against anybody.

By default (`reject 0`) nobody is refused. A refusal comes before the greeting, with 450 4.7.25
unless `reject_type` says otherwise: the DNS of a new server may be behind. Many homes and phones
have no name; if users log in from there, write `reject naughty` and have the plugin naughty refuse
later. Exempt clients are not tested, so put this plugin after `relay` and `whitelist`.

Authentication-Results has the result as `iprev`, with or without this plugin, which looks it up
where `reverse_lookup` is off.

Old forms: `has_reverse_dns` and `has_forward_dns` have no effect: both tests are made.

Differences from the Perl version: there `reject` had no effect. A name whose address is near the
client's gave iprev=pass; here it is fail, as RFC 8601 has it, but costs nothing. IPv6 addresses
count.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from qpsmtpd.api import (
    DnsError,
    Plugin,
    RejectMode,
    RejectOptions,
    Seconds,
    Session,
    Verdict,
    canonical_domain,
    opt,
    time_limit,
)

#: Names of an address whose own addresses are looked up.
_MOST_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class FcrdnsOptions(RejectOptions):
    """Options of fcrdns."""

    reject: RejectMode = opt(
        "0", doc="0 only takes karma; 1 rejects; naughty leaves it to the plugin naughty."
    )
    timeout: Seconds = opt(Seconds(5), doc="How long the DNS may take.")
    has_reverse_dns: bool = opt(False, flag=True, doc="Has no effect.")
    has_forward_dns: bool = opt(False, flag=True, doc="Has no effect.")


class Fcrdns(Plugin[FcrdnsOptions]):
    """The test of the client's name in the DNS."""

    after = ("relay", "whitelist")

    async def hook_connect(self, session: Session) -> Verdict | None:
        if self.immune(session):
            return None
        if session.client_is_local:
            session.adjust_karma(1)
            return None
        try:
            with time_limit(self.options.timeout):
                problem = await self._problem(session)
        except (DnsError, TimeoutError) as error:
            self.log.info("the DNS does not answer: %s", str(error) or "no answer in time")
            return None
        if session.iprev == "pass" and not problem:
            session.adjust_karma(1)
        if not problem:
            return None
        session.adjust_karma(-1)
        name = session.reverse_name
        reason = f"{problem}: {name!r}" if name else problem
        return self.reject(session, problem, status="5.7.25", default="temp", reason=reason)

    # --- private ----------------------------------------------------------------------------

    async def _problem(self, session: Session) -> str:
        """What is wrong with the name of a client; "" when nothing is.  Raises DnsError."""
        await session.resolve_client_name()
        if session.iprev == "":
            await self._look_up(session)
        if session.iprev == "permerror":
            return "Your IP address has no name in the DNS"
        if session.iprev not in ("pass", "fail"):
            return ""
        name = canonical_domain(session.reverse_name or "")
        if name == "localhost":
            return "You are not localhost"
        if not is_qualified(name):
            return "The name of your IP address is not fully qualified"
        if session.iprev == "fail" and not await self._leads_anywhere(session):
            return "The name of your IP address has no address"
        return ""

    async def _look_up(self, session: Session) -> None:
        """Find out what the core was not to ask (the setting `reverse_lookup`)."""
        resolver, ip = self.services.resolver, session.client.ip
        session.iprev = "temperror"
        names = await resolver.ptr(ip)
        session.reverse_name = next(iter(names), None)
        if not names:
            session.iprev = "permerror"
        else:
            session.iprev = "pass" if await resolver.confirmed(ip, names) else "fail"

    async def _leads_anywhere(self, session: Session) -> bool:
        """Whether some name of the client has any address.  Raises DnsError."""
        resolver = self.services.resolver
        names = (await resolver.ptr(session.client.ip))[:_MOST_NAMES]
        questions = [ask(name) for name in names for ask in (resolver.a, resolver.aaaa)]
        return any(await asyncio.gather(*questions))


def is_qualified(name: str) -> bool:
    """Whether a name is within a domain."""
    return "." in name.strip(".")
