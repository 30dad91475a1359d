# SPDX-License-Identifier: MIT
"""SPF: whether a domain lets a client send its mail (RFC 7208), the function check_host().

A domain publishes a record of mechanisms; the first one that matches the client's address decides.
Records refer to other records, and to names that whoever wrote them, or the sender, has chosen. So
what a record may make us ask is limited (section 4.6.4), and exceeding it is an error of the domain
(permerror). A DNS that does not answer is a temporary error (temperror), never a fail.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from qpsmtpd.errors import DnsError, DnsLimitError, QpsmtpdError
from qpsmtpd.mail.domain import looks_like_address
from qpsmtpd.mail.ip import IPAddress
from qpsmtpd.mailauth.dnsnames import is_askable, is_at_or_below
from qpsmtpd.mailauth.spfmacro import (
    MacroString,
    SpfSyntaxError,
    as_domain,
    parse_explanation,
)
from qpsmtpd.mailauth.spfrecord import (
    MAX_REMEMBERED,
    Mechanism,
    Networks,
    SpfRecord,
    is_spf_record,
    parse_record,
)
from qpsmtpd.plugin.services import Clock, RecordType, Resolver

SpfCode = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
#: Whom the domain stands for: the sender of the message, or the client by its HELO name.
SpfIdentity = Literal["mailfrom", "helo"]

#: RFC 7208 section 4.6.4: terms that ask the DNS; look-ups that find nothing; hosts of one mx, and
#: names of a client.
MAX_TERMS = 10
MAX_VOIDS = 2
MAX_HOSTS = 10


@dataclass(frozen=True, slots=True)
class SpfQuery:
    """What is asked: may this client send mail of this domain?

    domain: as A-labels (`Address.domain`, `canonical_domain`).  local_part: that of the sender,
    without quotes.  hello: what the client said in HELO.  receiver: our own host name.
    """

    client: IPAddress
    domain: str
    local_part: str = ""
    identity: SpfIdentity = "mailfrom"
    hello: str = ""
    receiver: str = "unknown"


@dataclass(frozen=True, slots=True)
class SpfResult:
    """What check_host() found.

    result: a word of RFC 7208 section 2.6.  identity, domain: what was checked.
    mechanism: the one that matched, as it stands in its record; "default" when none did.
    explanation: what the domain says about a fail, in ASCII; a stranger wrote it.
    problem: why it is permerror or temperror.
    lookups: how many terms asked the DNS, the one that exceeded the limit included.
    """

    result: SpfCode
    identity: SpfIdentity
    domain: str
    explanation: str = ""
    mechanism: str = ""
    problem: str = ""
    lookups: int = 0


class _PermanentError(QpsmtpdError):
    """The domain's records are wrong, or ask for too much."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one record, and where it came from: it may be that of a redirect."""

    result: SpfCode
    mechanism: str = ""
    domain: str = ""
    explanation: MacroString | None = None


_NO_RECORD = _Outcome("none")


async def check_host(query: SpfQuery, resolver: Resolver, clock: Clock | None = None) -> SpfResult:
    """Evaluate the record of a domain.  Raises nothing; a failure of the DNS is temperror.

    resolver: it should be a limited one, or somebody else's DNS determines how long this takes.
    clock: for the macro %{t} in explanations.
    """
    check = _Check(query, resolver, clock or Clock())
    explanation = problem = mechanism = ""
    result: SpfCode
    try:
        outcome = await check.evaluate("" if _is_address(query.domain) else query.domain)
        result, mechanism = outcome.result, outcome.mechanism
        if result == "fail" and outcome.explanation is not None:
            explanation = await check.explain(outcome.explanation, outcome.domain)
    except (_PermanentError, SpfSyntaxError) as error:
        result, problem = "permerror", str(error)
    except DnsError as error:
        result, problem = "temperror", str(error)
    return SpfResult(
        result, query.identity, query.domain, explanation, mechanism, problem, check.terms
    )


class _Check:
    """One evaluation: its limits, and what is known already.

    terms: those that have asked the DNS.
    """

    def __init__(self, query: SpfQuery, resolver: Resolver, clock: Clock) -> None:
        self.terms = 0
        self._query = query
        self._resolver = resolver
        self._clock = clock
        self._voids = 0
        self._version: int = query.client.version
        self._address = int(query.client)
        self._hosts: Literal["A", "AAAA"] = "A" if self._version == 4 else "AAAA"
        self._names: list[str] | None = None

    async def evaluate(self, domain: str) -> _Outcome:
        """The result of a domain's record.  Raises _PermanentError, SpfSyntaxError or DnsError."""
        record = await self._record_of(domain)
        if record is None:
            return _NO_RECORD
        for step in record.steps:
            if isinstance(step, Networks):
                matching = step.first_with(self._version, self._address)
            else:
                matching = step if await self._matches(step, domain) else None
            if matching is not None:
                return _Outcome(matching.result, matching.text, domain, record.explanation)
        if record.redirect is None:
            return _Outcome("neutral", "default", domain)
        return await self._redirected(record.redirect, domain)

    async def explain(self, target: MacroString, domain: str) -> str:
        """The explanation of a fail; "" if there is none or it is wrong (RFC 7208 section 6.2)."""
        try:
            name = await self._name_of(target, domain)
            # Nothing found does not count as a void look-up: no limit applies any more.
            texts = await self._resolver.txt(name) if name is not None else []
            if len(texts) != 1:
                return ""
            explanation = parse_explanation(texts[0])
            return explanation.expand(await self._values(explanation, domain))
        except (_PermanentError, SpfSyntaxError, DnsError):
            return ""

    async def _record_of(self, domain: str) -> SpfRecord | None:
        """The record of a domain; None without one (RFC 7208 sections 4.3 to 4.5)."""
        if "." not in domain:
            return None
        records = [text for text in await self._look_up("TXT", domain) if is_spf_record(text)]
        if not records:
            return None
        if len(records) > 1:
            raise _PermanentError(f"{domain} has several records")
        if len(records[0]) > MAX_REMEMBERED:
            await asyncio.sleep(0)  # others have a turn: reading it takes milliseconds
        return parse_record(records[0])

    async def _redirected(self, target: MacroString, domain: str) -> _Outcome:
        self._count_term()
        name = await self._name_of(target, domain)
        outcome = _NO_RECORD if name is None else await self.evaluate(name)
        if outcome.result == "none":
            raise _PermanentError(f"redirect= of {domain} leads to no record")
        return outcome

    # --- mechanisms (RFC 7208 section 5) ----------------------------------------------------

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.name == "all":
            return True
        self._count_term()
        name = domain
        if mechanism.target is not None:
            expanded = await self._name_of(mechanism.target, domain)
            if expanded is None:
                if mechanism.name == "include":
                    raise _PermanentError(f"{mechanism.text} leads to no record")
                return False
            name = expanded
        match mechanism.name:
            case "include":
                return await self._includes(mechanism, name)
            case "a":
                return self._is_among(await self._look_up(self._hosts, name), mechanism)
            case "mx":
                return await self._is_mail_exchanger(mechanism, name)
            case "exists":
                return bool(await self._look_up("A", name))
            case _:
                names = await self._client_names()
                return any(is_at_or_below(client_name, name) for client_name in names)

    async def _includes(self, mechanism: Mechanism, name: str) -> bool:
        outcome = await self.evaluate(name)
        if outcome.result == "none":
            raise _PermanentError(f"{mechanism.text} leads to no record")
        return outcome.result == "pass"

    async def _is_mail_exchanger(self, mechanism: Mechanism, name: str) -> bool:
        exchangers = await self._look_up("MX", name)
        if len(exchangers) > MAX_HOSTS:
            raise _PermanentError(f"{name} has more than {MAX_HOSTS} MX records")
        for _, host in exchangers:
            if self._is_among(await self._look_up(self._hosts, host), mechanism):
                return True
        return False

    def _is_among(self, addresses: Iterable[str], mechanism: Mechanism) -> bool:
        """Whether the client is one of these hosts, or near to one."""
        four = self._version == 4
        family, shift = (
            (socket.AF_INET, 32 - mechanism.prefix4)
            if four
            else (socket.AF_INET6, 128 - mechanism.prefix6)
        )
        wanted = self._address >> shift
        return any(
            int.from_bytes(socket.inet_pton(family, address)) >> shift == wanted
            for address in addresses
        )

    async def _client_names(self) -> list[str]:
        """The names of the client that have its address themselves (RFC 7208 section 5.5)."""
        if self._names is None:
            self._names = []
            names = await self._claimed_names()
            self._names = [name for name in names if await self._is_confirmed(name)]
        return self._names

    async def _claimed_names(self) -> list[str]:
        try:
            names = await self._resolver.ptr(str(self._query.client))
        except DnsLimitError:
            raise
        except DnsError:
            return []
        self._count_void(names)
        return names[:MAX_HOSTS]

    async def _is_confirmed(self, name: str) -> bool:
        try:
            addresses = await self._look_up(self._hosts, name)
        except DnsLimitError:
            raise
        except DnsError:
            return False
        return self._is_among(addresses, _SINGLE_ADDRESS)

    # --- macros (RFC 7208 section 7) --------------------------------------------------------

    async def _name_of(self, target: MacroString, domain: str) -> str | None:
        """The name that a domain-spec stands for; None for one that nothing can have."""
        text = target.fixed
        if text is None:
            text = target.expand(await self._values(target, domain))
        name = as_domain(text)
        return name if is_askable(name) else None

    async def _values(self, string: MacroString, domain: str) -> dict[str, str]:
        """The values of its macros."""
        query = self._query
        local_part = query.local_part or "postmaster"
        values = {
            "s": f"{local_part}@{query.domain}",
            "l": local_part,
            "o": query.domain,
            "d": domain,
            "i": _dotted(query.client),
            "v": "in-addr" if self._version == 4 else "ip6",
            "h": query.hello,
            "c": str(query.client),
            "r": query.receiver,
            "t": str(int(self._clock.now())),
        }
        if "p" in string.letters:
            values["p"] = _best_name(await self._client_names(), domain)
        return values

    # --- the DNS, within limits -------------------------------------------------------------

    async def _look_up(self, kind: RecordType, name: str) -> tuple[Any, ...]:
        if not is_askable(name):
            return ()
        records = (await self._resolver.look_up(kind, name)).records
        self._count_void(records)
        return records

    def _count_void(self, records: object) -> None:
        if not records:
            self._voids += 1
            if self._voids > MAX_VOIDS:
                raise _PermanentError(f"more than {MAX_VOIDS} look-ups found nothing")

    def _count_term(self) -> None:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise _PermanentError(f"more than {MAX_TERMS} terms ask the DNS")


_SINGLE_ADDRESS = Mechanism("", "ptr", "pass")


def _is_address(domain: str) -> bool:
    """Whether it is not a domain but an address, with brackets or without."""
    return domain[:1] == "[" or looks_like_address(domain)


def _dotted(client: IPAddress) -> str:
    """The address as parts of a name: decimal octets, or hexadecimal digits in upper case."""
    if client.version == 4:
        return str(client)
    return ".".join(client.exploded.replace(":", "").upper())


def _best_name(names: list[str], domain: str) -> str:
    """The value of %{p}: the domain itself, else a name below it, else any."""
    lower = domain.lower()
    if any(name.lower() == lower for name in names):
        return domain
    return next((name for name in names if is_at_or_below(name, domain)), (*names, "unknown")[0])
