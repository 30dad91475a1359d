# SPDX-License-Identifier: MIT
"""rate_limit: limit how much a client, network, user or sender domain may send in a given time.

    rate_limit messages_per_client 100/1h recipients_per_client 10/1m,500/1h
    rate_limit:2 messages_per_user 200/1d reject_type perm

A limit is a number, a slash, and the length of a window: 100/1h is one hundred in an hour. The
window begins with the first event and counts everything up to its end, including what is refused;
then the next one begins. Several limits, separated by commas, all apply. The name of the option
says what is counted, and per what:

- connections count when the client connects, before the greeting.
- messages count at DATA, so that a client that only asks about recipients does not use them up.
- recipients count at RCPT, including those that are refused.
- errors are permanent refusals by plugins, such as unknown recipients and failed logins. A client
  with too many is turned away the next time it connects, until the window ends.

A client is an IPv4 address, or an IPv6 network of 64 bits, which is what a single machine usually
has. A network is an IPv4 network of 24 bits, or an IPv6 network of 48 bits. A user is whoever has
logged in (AUTH). A sender domain is the domain of the envelope sender.

What exceeds a limit is refused for now: 450 4.7.1 at connect and RCPT, 451 4.7.1 at DATA, before
the message is sent; `reject_type perm` makes it a permanent refusal, `reject 0` only logs. Put the
plugin after `relay` and `whitelist` and before `rcpt_ok`. Exempt clients are not limited, except by
the limits per user; with `exempt no` the limits apply to everybody.

The counters are in the store (the file `store`): all workers share them, and with a Redis server
several machines can. A plugin that is loaded twice, as `rate_limit` and `rate_limit:2`, counts
separately. While the store is down nothing is limited, and the log says so once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from qpsmtpd.api import (
    Decision,
    HookResult,
    Plugin,
    Recipient,
    RejectOptions,
    Seconds,
    Session,
    StoreError,
    Transaction,
    Verdict,
    address_key,
    network_of,
    opt,
)

#: Length of the network prefix that stands for a client or its network, by version of IP.
_PREFIXES = {"client": {4: 32, 6: 64}, "network": {4: 24, 6: 48}}

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

What = Literal["connections", "messages", "recipients", "errors"]

_LIMIT = re.compile(r"(\d{1,12})/(\d{0,6})([smhd]?)", re.ASCII)


class Rate(NamedTuple):
    """At most `events` events in `window` seconds."""

    events: int
    window: int

    def __str__(self) -> str:
        return f"{self.events}/{Seconds(self.window)}"


def parse_rate(text: str) -> Rate:
    """Read 100/1h, 5/m or 10/30 (seconds).  Raises a ValueError that says what would be right."""
    match = _LIMIT.fullmatch(text)
    window = int(match[2] or 1) * _UNITS[match[3]] if match and (match[2] or match[3]) else 0
    if not match or not window:
        raise ValueError("a number and a time (100/1h, 10/30s, 1000/1d)")
    return Rate(int(match[1]), window)


def _limit(what: What, per: str) -> tuple[str, ...]:
    limit: tuple[str, ...] = opt(
        (), doc=f"Limit of {what} per {per}, such as 100/1h.", check=parse_rate
    )
    return limit


@dataclass(frozen=True, kw_only=True)
class RateLimitOptions(RejectOptions):
    """Options of rate_limit."""

    connections_per_client: tuple[str, ...] = _limit("connections", "client")
    connections_per_network: tuple[str, ...] = _limit("connections", "network of clients")
    messages_per_client: tuple[str, ...] = _limit("messages", "client")
    messages_per_network: tuple[str, ...] = _limit("messages", "network of clients")
    messages_per_user: tuple[str, ...] = _limit("messages", "user who has logged in")
    messages_per_domain: tuple[str, ...] = _limit("messages", "sender domain")
    recipients_per_client: tuple[str, ...] = _limit("recipients", "client")
    recipients_per_network: tuple[str, ...] = _limit("recipients", "network of clients")
    recipients_per_user: tuple[str, ...] = _limit("recipients", "user who has logged in")
    recipients_per_domain: tuple[str, ...] = _limit("recipients", "sender domain")
    errors_per_client: tuple[str, ...] = _limit("errors", "client")
    errors_per_network: tuple[str, ...] = _limit("errors", "network of clients")
    exempt: bool = opt(
        True, doc="Whether the limits spare exempt clients; those per user never do."
    )

    def check(self) -> Iterator[str]:
        if not any(getattr(self, name) for name in _limit_names()):
            yield "needs a limit, such as messages_per_client 100/1h"


def _limit_names() -> Iterator[str]:
    return (field.name for field in fields(RateLimitOptions) if "_per_" in field.name)


class Limit(NamedTuple):
    """One limit: `name` is the name of its option, `per` the end of that name."""

    name: str
    per: str
    rate: Rate


_Applicable = tuple[Limit, str]


class RateLimit(Plugin[RateLimitOptions]):
    """Counts, and refuses what exceeds a limit."""

    remedy = "the limits are on its line; clients that may relay and exempt ones are not limited"

    async def start(self) -> None:
        self._store = self.services.store.scoped(self.name)
        self._limits: dict[str, list[Limit]] = {}
        for name in _limit_names():
            what, _, per = name.partition("_per_")
            limits = [Limit(name, per, parse_rate(text)) for text in getattr(self.options, name)]
            self._limits.setdefault(what, []).extend(limits)

    async def hook_connect(self, session: Session) -> Verdict | None:
        return await self._check("connections", session) or await self._check(
            "errors", session, count=False
        )

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._check("recipients", tx.session)

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return await self._check("messages", tx.session)

    async def hook_deny(self, session: Session, result: HookResult) -> None:
        verdict = result.verdict
        if verdict is not None and verdict.decision is Decision.DENY and result.plugin != self.name:
            await self._totals(self._applicable("errors", session), count=True)

    # --- private ----------------------------------------------------------------------------

    async def _check(self, what: What, session: Session, *, count: bool = True) -> Verdict | None:
        """Count an event, or only look; the refusal if some limit is exceeded."""
        applicable = self._applicable(what, session)
        totals = await self._totals(applicable, count=count)
        for (limit, subject), total in zip(applicable, totals, strict=False):
            if total > limit.rate.events:
                return self.reject(
                    session,
                    f"Too many {what} from you in a short time",
                    status="4.7.1",
                    default="temp",
                    reason=f"{limit.name} {limit.rate}: {total} of {subject}",
                )
        return None

    async def _totals(self, applicable: Sequence[_Applicable], *, count: bool) -> list[int]:
        """How many there were in each window; empty when the store does not answer."""
        totals = [self._total(limit, subject, count=count) for limit, subject in applicable]
        try:
            # One alone needs no task of its own.
            return [await totals[0]] if len(totals) == 1 else await asyncio.gather(*totals)
        except StoreError:
            return []

    async def _total(self, limit: Limit, subject: str, *, count: bool) -> int:
        window = limit.rate.window
        key = f"{limit.name}/{window}/{subject}"
        return await (self._store.increment(key, 1, window) if count else self._store.count(key))

    def _applicable(self, what: What, session: Session) -> list[_Applicable]:
        exempt = self.options.exempt and self.immune(session)
        return [
            (limit, subject)
            for limit in self._limits[what]
            if not (exempt and limit.per != "user") and (subject := _subject(limit, session))
        ]


def _subject(limit: Limit, session: Session) -> str:
    """The subject that the limit counts; "" if it does not apply."""
    if limit.per == "user":
        return address_key(session.auth_user)
    if limit.per == "domain":
        sender = session.transaction.reverse_path if session.transaction else None
        return (sender.domain or "") if sender else ""
    address = session.client_address
    prefix = _PREFIXES[limit.per][address.version]
    return network_of(address, prefix)
