# SPDX-License-Identifier: MIT
"""DMARC: whether a message is from the domain that its From names (RFC 9989).

It is, if SPF or DKIM vouch for that domain, or for one of the same organization; if not, the domain
says what it would like to be done.  Which domains belong to one organization is found by a walk up
the tree of names, which asks at most eight questions, or in a list of public suffixes as RFC 7489
has it.

The policy of the author's domain can be looked up as soon as there is a header section: `discover`.
The rest is asked only if it matters: for a domain that SPF or DKIM have passed, and that is not the
author's own but at or below that of his organization.  A DNS that does not answer is a temporary
error (temperror) if the answer could have made it a pass, and never a fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qpsmtpd.errors import DnsError
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarcrecord import POLICIES, DmarcRecord, Policy, choose_record
from qpsmtpd.mailauth.dnsnames import is_askable, is_at_or_below
from qpsmtpd.mailauth.publicsuffix import PublicSuffixes
from qpsmtpd.mailauth.spf import SpfResult
from qpsmtpd.plugin.services import Resolver

DmarcCode = Literal["pass", "fail", "none", "permerror", "temperror"]
Method = Literal["spf", "dkim"]
#: How the domain of an organization is found.
Discovery = Literal["treewalk", "psl"]

#: RFC 9989 section 4.10: names of more labels are cut down to seven after the first question.
MAX_LABELS = 8

_LABEL = "_dmarc"


class Identifier(NamedTuple):
    """A domain that vouches for a message, or might do so.

    certain: False if it is not known whether it does, because the DNS did not answer.
    """

    method: Method
    domain: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class DmarcResult:
    """What became of a message.

    result: a word of RFC 9989 section 9.1.  reason: why it is an error, in fixed words.
    author: the author's domain.  org_domain: that of its organization, "" if nobody had to know.
    policy: what the domain wants for a message that fails, one level down while it is testing.
    declared: the same as it is published.  where: the domain whose record that is.
    aligned: who vouches for the author, at most one domain of each method.
    testing: whether the record has t=y.  record: the record; None without one.
    discovery: how org_domain is found.
    """

    result: DmarcCode
    reason: str = ""
    author: str = ""
    policy: Policy = "none"
    declared: Policy = "none"
    where: str = ""
    org_domain: str = ""
    aligned: tuple[tuple[Method, str], ...] = ()
    testing: bool = False
    record: DmarcRecord | None = None
    discovery: Discovery = "treewalk"


def identifiers_of(spf: SpfResult | None, dkim: Iterable[DkimResult]) -> list[Identifier]:
    """The domains for which SPF and DKIM have passed, or do not know yet."""
    found: list[Identifier] = []
    if spf is not None and spf.result in ("pass", "temperror"):
        found.append(Identifier("spf", spf.domain, spf.result == "pass"))
    for signature in dkim:
        if signature.result in ("pass", "temperror"):
            found.append(Identifier("dkim", signature.domain, signature.result == "pass"))
    return found


def walk(domain: str) -> Iterator[str]:
    """The names of a tree walk, the domain itself first; never more than MAX_LABELS."""
    yield domain
    labels = domain.split(".")
    for count in range(min(len(labels), MAX_LABELS) - 1, 0, -1):
        yield ".".join(labels[-count:])


class Evaluation:
    """DMARC for one message: `discover`, then `result`."""

    def __init__(
        self, author: str, resolver: Resolver, suffixes: PublicSuffixes | None = None
    ) -> None:
        """author: the domain of From, as A-labels.  suffixes: to use instead of tree walks.

        resolver: it should be a limited one, or somebody else's DNS determines how long this takes.
        """
        self._author = author
        self._resolver = resolver
        self._suffixes = suffixes
        self._records: dict[str, DmarcRecord | None] = {}
        self._organizations: dict[str, str] = {}
        self._where = ""
        self._declared: Policy = "none"
        self._is_known = True

    async def discover(self) -> None:
        """Look up the policy (section 4.10.1).  Raises nothing."""
        try:
            self._where = await self._policy_domain()
        except DnsError:
            self._is_known = False
        if self._record is not None:
            self._declared = await self._declared_policy(self._record)

    async def result(self, identifiers: Sequence[Identifier]) -> DmarcResult:
        """What the identifiers of a message mean for it, after `discover`.  Raises nothing."""
        if not self._is_known:
            return self._found("temperror", "policy cannot be looked up")
        if self._record is None:
            return self._found("none")
        certain = [each for each in identifiers if each.certain]
        aligned, is_doubtful = await self._aligned(certain, self._record)
        if aligned:
            return self._found("pass", aligned=tuple(aligned.items()))
        uncertain = [each for each in identifiers if not each.certain]
        could_align, is_unclear = await self._aligned(uncertain, self._record)
        if could_align or is_doubtful or is_unclear:
            return self._found("temperror", "what could align cannot be looked up")
        return self._found("fail")

    @property
    def _record(self) -> DmarcRecord | None:
        """The record that applies to the author."""
        record = self._records.get(self._where)
        return record if record is not None and record.applies else None

    def _found(
        self, result: DmarcCode, reason: str = "", aligned: tuple[tuple[Method, str], ...] = ()
    ) -> DmarcResult:
        record = self._record
        testing = record is not None and record.testing
        return DmarcResult(
            result,
            reason,
            author=self._author,
            policy=_one_level_down(self._declared) if testing else self._declared,
            declared=self._declared,
            where=self._where if record is not None else "",
            org_domain=self._organizations.get(self._author, ""),
            aligned=aligned,
            testing=testing,
            record=record,
            discovery="treewalk" if self._suffixes is None else "psl",
        )

    # --- the policy -------------------------------------------------------------------------

    async def _policy_domain(self) -> str:
        """The name whose record applies: the author's, his organization's, or that above it."""
        if await self._look_up(self._author) is not None:
            return self._author
        organization = await self.organization(self._author)
        if self._suffixes is not None:
            await self._look_up(organization)
        if self._records.get(organization) is not None:
            return organization
        # The walk has ended at a public suffix, or has found nothing.
        above = organization.partition(".")[2]
        return above if self._records.get(above) is not None else ""

    async def _declared_policy(self, record: DmarcRecord) -> Policy:
        if self._where == self._author:
            return record.policy
        if record.subdomains == record.nonexistent:
            return record.subdomains
        try:
            exists = await self._resolver.exists(self._author)
        except DnsError:
            return min(record.subdomains, record.nonexistent, key=POLICIES.index)
        return record.subdomains if exists else record.nonexistent

    # --- alignment --------------------------------------------------------------------------

    async def _aligned(
        self, identifiers: Sequence[Identifier], record: DmarcRecord
    ) -> tuple[dict[Method, str], bool]:
        """The first identifier of each method that is aligned, and whether others may be as well.

        Those that are the author's own domain come first: they need no question.
        """
        aligned: dict[Method, str] = {}
        is_doubtful = False
        for each in sorted(identifiers, key=lambda each: each.domain != self._author):
            try:
                if each.method not in aligned and await self._is_aligned(each, record):
                    aligned[each.method] = each.domain
            except DnsError:
                is_doubtful = True
        return aligned, is_doubtful

    async def _is_aligned(self, identifier: Identifier, record: DmarcRecord) -> bool:
        """Whether a domain is the author's, or of the same organization (section 4.10.2)."""
        domain = identifier.domain
        if domain == self._author:
            return True
        by_spf = identifier.method == "spf"
        if (record.spf_alignment if by_spf else record.dkim_alignment) == "s":
            return False
        if _top_level(domain) != _top_level(self._author):
            return False
        organization = await self.organization(self._author)
        return (
            is_at_or_below(domain, organization) and await self.organization(domain) == organization
        )

    async def organization(self, domain: str) -> str:
        """The domain of the organization that has a domain.  Raises DnsError."""
        known = self._organizations.get(domain)
        if known is None:
            if self._suffixes is not None:
                known = self._suffixes.organizational_domain(domain)
            else:
                known = await self._walked(domain)
            self._organizations[domain] = known
        return known

    async def _walked(self, domain: str) -> str:
        """Walk up from a domain: the highest name with a record is that of its organization."""
        highest = domain
        for name in walk(domain):
            record = await self._look_up(name)
            if record is None:
                continue
            if record.psd == "y" and name != domain:
                below = domain.removesuffix(f".{name}").rpartition(".")[2]
                return f"{below}.{name}"
            highest = name
            if record.psd != "u":
                break
        return highest

    async def _look_up(self, domain: str) -> DmarcRecord | None:
        """The record at a name."""
        if domain not in self._records:
            name = f"{_LABEL}.{domain}"
            texts = await self._resolver.txt(name) if is_askable(name) else []
            self._records[domain] = choose_record(texts)
        return self._records[domain]


def _top_level(domain: str) -> str:
    return domain.rpartition(".")[2]


def _one_level_down(policy: Policy) -> Policy:
    return POLICIES[max(POLICIES.index(policy) - 1, 0)]
