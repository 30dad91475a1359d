# SPDX-License-Identifier: MIT
"""dmarc: whether a message is from the domain in its From field (DMARC).

    dmarc [reject 0|author|1|naughty] [reject_type TYPE]
          [temperror accept|defer] [public_suffix_list FILE]
          [reporting report_sender ADDRESS report_via HOST:PORT|PROGRAM
           [report_recipients]]

It is, if that domain, or one of the same organization, has passed SPF or DKIM (RFC 9989). So the
plugins sender_permitted_from and dkim have to be above this one. The result is written into
Authentication-Results, with what the domain wants done if it is fail:

    dmarc=fail header.from=example.com policy.dmarc=reject

    result      the message
    pass        is from that domain
    fail        is not, or somebody has changed it on its way: a mailing
                list, for instance
    none        has an author whose domain does not use DMARC
    permerror   has no author, or authors in several domains, or a From
                field that readers would not agree about; see below
    temperror   cannot be judged now: the DNS does not answer, and the
                answer could make it a pass

What is refused is up to `reject`:

    level    refused with 550 5.7.1
    0        nothing
    author   a message whose result is permerror
    1        the same, and a fail if the domain wants that refused
             (p=reject, and not t=y)
    naughty  as 1, but the plugin naughty says so, when it wants to

The default is `author`. No receiver may refuse a message only because the policy of its domain is
reject (RFC 9989 section 7.4): mailing lists and forwarders do change mail. So level 1 is for those
who know that their users get no such mail, or who accept its loss; otherwise the result is there
for the mail system behind us. A policy of quarantine never refuses anything, and none changes
nothing.

The From field has to be what RFC 5322 says: one field, with a list of addresses in it. Otherwise a
mail program may show another author than the one that was checked. An empty list, a second From, a
header section that begins with a blank, or a line such as `From<line break> :` count as no author;
only a name that lacks its quotes (`Company, Inc. <news@example.com>`) is forgiven.

With `temperror defer`, a message is deferred while its result is temperror: 452 4.4.3.

The policy is looked up while the client still sends: a record of the domain itself, else one that
is found on a walk up its parent domains. With `public_suffix_list`, that file says which domains
belong to one organization, as RFC 7489 had it; in Debian the package publicsuffix has
/usr/share/publicsuffix/public_suffix_list.dat. A reload reads it again.

Relay clients, authenticated users and exempt clients are not checked. Its lookups about one message
are limited to 40 questions and 20 seconds. A fail whose policy is reject or quarantine costs the
client three points of karma, permerror one.

With `reporting`, messages are counted for aggregate reports (RFC 9990): a domain that asks for them
(rua) learns each day from which addresses mail in its name came, and what SPF, DKIM and DMARC said
about it. They are counted in the store, for eight days; a flood of new domains or addresses is not
counted. Reports never name users, and recipients' domains only with `report_recipients`. Mail that
is itself such a report is not counted, or two receivers would report to each other for ever. To
send the reports, name `report_sender` and `report_via`, and run

    systemctl enable --now qpsmtpd-dmarc-report.timer

`qpsmtpd dmarc-report` shows what was counted and what was sent. Reports have to pass DMARC
themselves: what takes them has to be allowed by the SPF record of the sender's domain, or to sign
them. A program is run as `PROGRAM -oi -f ADDRESS -t`; the timer's service runs it without set-id
privileges, unless the hand-over does that (README.Debian, section 11).

Differences from the Perl version: there `reject` was 1 without being given, and fails whose policy
is quarantine were refused as well. Reports were made by the programs of Mail::DMARC, from its file
mail-dmarc.ini, which is not read. The tag pct of a record has no effect: RFC 9989 has removed it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qpsmtpd.api import (
    DKIM_RESULTS,
    DMARC_RESULT,
    SPF_RESULT,
    Author,
    Decision,
    DmarcCounts,
    DmarcEvaluation,
    DmarcIdentifier,
    DmarcReportOptions,
    DmarcResult,
    Finding,
    Note,
    Plugin,
    PublicSuffixes,
    RejectOptions,
    StoreError,
    System,
    Transaction,
    Verdict,
    canonical_domain,
    defer,
    dmarc_auth_result,
    dmarc_identifiers,
    dmarc_published,
    dmarc_row,
    opt,
    read_author,
    read_public_suffixes,
    resolver_for,
)

TEXT_POLICY = "Rejected by the DMARC policy for {}"
TEXT_AUTHOR = "The author is unclear: {}; see RFC 5322 section 3.6.2"
TEXT_TEMPERROR = "DMARC cannot be looked up now, try again later"
_STATUS = "5.7.1"

#: A check under way: who the author is, and what looks up the policy of a domain.
_Check = tuple[Author, DmarcEvaluation | None, asyncio.Task[None] | None]

_DKIM_FIELD = b"dkim-signature"
_KARMA_OF_FAIL = -3
_KARMA_OF_PERMERROR = -1
_QUIET = frozenset({"pass", "none"})

#: How the subject of a report begins (RFC 9990, Email).
_REPORT = "Report Domain:"
_TIMER = "qpsmtpd-dmarc-report.timer"
_UNFIT = "reporting needs report_sender=ADDRESS and report_via=HOST:PORT; nothing is counted"


@dataclass(frozen=True, kw_only=True)
class DmarcOptions(RejectOptions, DmarcReportOptions):
    """Options of dmarc."""

    reject: Literal["0", "author", "1", "naughty"] = opt(  # type: ignore[assignment]
        "author", doc="What is refused; see the table above."
    )
    temperror: Literal["accept", "defer"] = opt(
        "accept", doc="What becomes of a message that cannot be judged now."
    )
    public_suffix_list: Path | None = opt(
        None, doc="A list of public suffixes, which then decides what belongs to one organization."
    )


class Dmarc(Plugin[DmarcOptions]):
    """Checks whether the author's domain stands for a message."""

    remedy = (
        "the domain of the author asks for this (p=reject) and neither SPF nor DKIM pass for "
        "it: its owner has to see to that; trusted mailing lists may sign with ARC (plugin "
        "arc)"
    )

    after = ("sender_permitted_from", "dkim")
    needs = ("sender_permitted_from", "dkim")

    async def start(self) -> None:
        self._check = Note[_Check](f"{self.name}.check")
        self._suffixes: PublicSuffixes | None = None
        if self.options.public_suffix_list is not None:
            path = self.services.config.path(self.options.public_suffix_list)
            self._suffixes = await asyncio.to_thread(read_public_suffixes, path)
        self._counts: DmarcCounts | None = None
        if self.options.can_report:
            self._counts = DmarcCounts(self.services.store, self.services.clock)
        elif self.options.reporting:
            # The Perl version had no other options for reports: its line must go on working.
            self.services.config.warn("", _UNFIT)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the reports that it counts for are sent."""
        output = system.run("systemctl", "is-enabled", _TIMER) if self.options.can_report else None
        if output is None:
            return
        if output.text.strip() == "enabled":
            yield Finding.ok(_TIMER, "sends DMARC reports")
        else:
            advice = "If no other machine that shares the store sends them:"
            command = f"systemctl enable --now {_TIMER}"
            yield Finding.notice(
                _TIMER, "is not enabled: DMARC reports are not sent", advice, command
            )

    async def hook_data_headers_end(self, tx: Transaction) -> Verdict | None:
        if tx.session.auth_user or self.immune(tx.session):
            return None
        author = read_author(tx.received_header)
        evaluation = asking = None
        if author.domain:
            resolver = resolver_for(tx, self.services.resolver, "dmarc")
            evaluation = DmarcEvaluation(author.domain, resolver, self._suffixes)
            asking = tx.begin(evaluation.discover())
        tx.notes[self._check] = author, evaluation, asking
        return None

    async def hook_data_post_headers(self, tx: Transaction) -> Verdict | None:
        check = tx.notes.get(self._check)
        if check is None:
            return None
        author, evaluation, asking = check
        if evaluation is None or asking is None:
            result = _without_domain(author)
        else:
            await asyncio.shield(asking)
            result = await evaluation.result(_identifiers(tx, author))
        self._tell(tx, result)
        verdict = self._verdict(tx, result)
        if self._counts is not None:
            await self._count(self._counts, tx, result, verdict)
        return verdict

    async def _count(
        self, counts: DmarcCounts, tx: Transaction, result: DmarcResult, verdict: Verdict | None
    ) -> None:
        """Count the message for a report, if its domain wants one and the store works."""
        published = dmarc_published(result)
        if published is None or self._is_report(tx, result):
            return
        decision = verdict.decision if verdict is not None and self.mode == "enforce" else None
        if decision is Decision.DEFER:
            # It comes again.
            return
        refused = decision is Decision.DENY
        with_recipient = self.options.report_recipients
        row = dmarc_row(tx, result, refused=refused, with_recipient=with_recipient)
        with suppress(StoreError):
            await counts.count(published, row)

    def _is_report(self, tx: Transaction, result: DmarcResult) -> bool:
        """Whether it is truly somebody's report, or about one of ours."""
        # A report that cannot be delivered comes back, and must not be worth another one.
        ours = self.options.sender_of_reports
        recipients = {recipient.address.key for recipient in tx.recipients}
        if ours is not None and recipients == {ours.key}:
            return True
        assert tx.message is not None
        subject = tx.message.headers.get("Subject") or ""
        return result.result == "pass" and subject.strip().startswith(_REPORT)

    def _tell(self, tx: Transaction, result: DmarcResult) -> None:
        """Put a result where others find it."""
        level = logging.DEBUG if result.result in _QUIET else logging.INFO
        if self.log.isEnabledFor(level):
            self.log.log(level, "%s", _reason(result))
        tx.auth_results.append(dmarc_auth_result(result))
        tx.notes[DMARC_RESULT] = result
        if result.result == "permerror":
            tx.session.adjust_karma(_KARMA_OF_PERMERROR)
        elif result.result == "fail" and result.policy != "none":
            tx.session.adjust_karma(_KARMA_OF_FAIL)

    def _verdict(self, tx: Transaction, result: DmarcResult) -> Verdict | None:
        match result.result, result.policy:
            case "temperror", _ if self.options.temperror == "defer":
                return defer(TEXT_TEMPERROR, status="4.4.3", reason=_reason(result))
            case "permerror", _:
                return self._refusal(tx, TEXT_AUTHOR.format(result.reason), result)
            case "fail", "reject" if self.options.reject != "author":
                return self._refusal(tx, TEXT_POLICY.format(result.author), result)
        return None

    def _refusal(self, tx: Transaction, text: str, result: DmarcResult) -> Verdict | None:
        verdict = self.reject(tx.session, text, status=_STATUS, reason=_reason(result))
        if verdict is None or verdict.decision is not Decision.DENY:
            return verdict
        # RFC 9989 section 7.4 names this code.
        return replace(verdict, code=550)


def _without_domain(author: Author) -> DmarcResult:
    """The result for a message without an author's domain: an address literal has no policy."""
    named = author.domains[0] if len(author.domains) == 1 else ""
    if author.problem:
        return DmarcResult("permerror", author.problem, named)
    return DmarcResult("none", author=named)


def _identifiers(tx: Transaction, author: Author) -> list[DmarcIdentifier]:
    """The domains that vouch for a message; those that were not checked may do so."""
    spf, dkim = tx.notes.get(SPF_RESULT), tx.notes.get(DKIM_RESULTS)
    found = dmarc_identifiers(spf, dkim or ())
    if spf is None:
        sender = tx.reverse_path
        domain = canonical_domain(tx.session.hello_host) if sender is None else sender.domain
        found.append(DmarcIdentifier("spf", domain or "", certain=False))
    if dkim is None and _DKIM_FIELD in tx.received_header.lower():
        found.append(DmarcIdentifier("dkim", author.domain, certain=False))
    return found


def _reason(result: DmarcResult) -> str:
    """What the log says."""
    return (
        f"dmarc={result.result} from={result.author!r} policy={result.policy} "
        f"record={result.where!r} why={result.reason!r}"
    )
