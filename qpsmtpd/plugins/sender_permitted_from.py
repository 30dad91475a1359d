# SPDX-License-Identifier: MIT
"""sender_permitted_from: whether the sender's domain lets this client send its mail (SPF).

    sender_permitted_from [reject 0-6] [no_dmarc_policy 0-4]
        [received_spf yes|no]

A domain publishes who may send its mail (RFC 7208). The result is always written into
Authentication-Results (`spf=pass smtp.mailfrom=example.org`). What is refused is up to `reject`:

    level   refused at MAIL                 with
    0, 1    nothing
    2       fail                            450 4.7.23
    3       fail                            550 5.7.23
            softfail                        450 4.7.1
    4       fail, softfail                  550
            permerror, temperror            450 4.7.24, 450 4.4.3
    5       fail, softfail, neutral         550
            permerror, temperror            450
    6       fail, softfail, neutral, none   550
            permerror                       550 5.7.24
            temperror                       450 4.4.3

Without `reject` it is the number in the file `spfbehavior`, and without that file 0. Mail that was
forwarded often fails, so a level above 1 loses good mail; where the domain has a DMARC policy, that
should decide (RFC 9989 section 7.1). `no_dmarc_policy` refuses with 552, at the end of the message,
if the plugin dmarc has found that the author's domain has no policy: at 1 fail, at 2 softfail too,
at 3 neutral, at 4 none and permerror.

The sender of an error message is empty. Then the client's HELO name is checked
(`smtp.helo=mx.example.org`), once for each session, and only a fail is refused.

Relay clients, authenticated users and exempt clients are not checked. The lookups begin at MAIL;
without a level that refuses there, the client does not wait for them before the end of its message.
Its lookups about one message are limited to 40 questions and 20 seconds; if the DNS does not
answer, that is temperror. What a domain has to say about a fail follows in a second line of the
reply.

A client that fails or softfails loses a point of karma; one that passes gains one.

Old forms: `spf_deny 1` is `reject 3`, `spf_deny 2` is `reject 4`.

Differences from the Perl version: a DNS that fails is never a permanent refusal; the HELO name of a
client with an empty sender is checked; Received-SPF is added only with `received_spf yes`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    SPF_RESULT,
    ConfigError,
    Note,
    Plugin,
    ReversePath,
    Session,
    SpfQuery,
    SpfResult,
    Transaction,
    Verdict,
    canonical_domain,
    check_host,
    defer,
    deny,
    opt,
    printable_ascii,
    received_spf,
    resolver_for,
    spf_auth_result,
)

MOST_LEVEL = 6
#: Below it nothing is refused at MAIL.
_LEAST_LEVEL = 2
_LEVEL_OF_SPF_DENY = {"1": 3, "2": 4}

#: Octets of an explanation that are passed on: a stranger wrote it (RFC 7208 section 6.2).
_MOST_EXPLANATION = 200

#: Notes of the Perl version, for plugins that were written after it: the result, the domain if it
#: is pass, and what DMARC needs.
SPFQUERY = Note[str]("spfquery")
SPF_PASS_HOST = Note[str]("spf_pass_host")
DMARC_SPF = Note[dict[str, str]]("dmarc_spf")

#: A check under way, or done, with what was asked.
_Check = tuple[SpfQuery, asyncio.Task[SpfResult]]
_NEVER = MOST_LEVEL + 1
_LEVELS = frozenset(map(str, range(MOST_LEVEL + 1)))
#: Results that an administrator wants to see before choosing a level.
_WORTH_A_LINE = frozenset({"fail", "softfail", "permerror", "temperror"})
_KARMA = {"pass": 1, "fail": -1, "softfail": -1}


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a result.

    defer, deny: the levels from which it is refused.  without_policy: that of no_dmarc_policy.
    """

    text: str
    status: str
    defer: int = _NEVER
    deny: int = _NEVER
    without_policy: int = _NEVER

    def verdict(self, level: int, text: str, reason: str) -> Verdict | None:
        """The refusal that the level `reject` wants."""
        if level >= self.deny:
            return deny(text, status=f"5.{self.status}", reason=reason)
        if level >= self.defer:
            return defer(text, status=f"4.{self.status}", reason=reason)
        return None


#: For the status: RFC 7372 section 3.2 (fail, permerror), RFC 7208 section 8.6 (temperror).
RULES = {
    "fail": Rule("The sender's domain does not let this client send its mail", "7.23", 2, 3, 1),
    "softfail": Rule("The sender's domain advises against this client", "7.1", 3, 4, 2),
    "neutral": Rule("The sender's domain does not vouch for this client", "7.1", _NEVER, 5, 3),
    "none": Rule("The sender's domain does not say who sends its mail", "7.1", _NEVER, 6, 4),
    "permerror": Rule("The SPF record of the sender's domain is wrong", "7.24", 4, 6, 4),
    "temperror": Rule("Sender's domain cannot be looked up now, try again later", "4.3", 4),
}


@dataclass(frozen=True, kw_only=True)
class SenderPermittedFromOptions:
    """Options of sender_permitted_from."""

    reject: int | None = opt(
        None, least=0, most=MOST_LEVEL, doc="What is refused at MAIL; see the table above."
    )
    spf_deny: Literal["", "0", "1", "2"] = opt("", doc="An old form of `reject`.")
    no_dmarc_policy: int = opt(
        0, least=0, most=4, doc="What is refused if the author's domain has no DMARC policy."
    )
    received_spf: bool = opt(False, doc="Whether a field Received-SPF is added as well.")


class SenderPermittedFrom(Plugin[SenderPermittedFromOptions]):
    """SPF for the sender, or for the HELO name of a client without one."""

    remedy = (
        "the domain of the sender says in the DNS who may send its mail, and its owner has to"
        " add the client; `reject` on the line says what is refused"
    )

    files = {"spfbehavior": "The level of sender_permitted_from, if its line has no `reject`."}

    async def start(self) -> None:
        self._level = await self._configured_level()
        self._check = Note[_Check](f"{self.name}.check")
        self._hello = Note[_Check](f"{self.name}.hello")

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        session = tx.session
        if session.auth_user or self.immune(session):
            return None
        query = self._query(session, sender)
        tx.notes[self._check] = query, self._begun(tx, query)
        if self._level < _LEAST_LEVEL:
            return None
        result = await self._result(tx)
        return self._verdict(result, self._level) if result else None

    async def hook_data_post_headers(self, tx: Transaction) -> Verdict | None:
        result = await self._result(tx)
        if result is not None and self.options.received_spf:
            query, _ = tx.notes[self._check]
            tx.add_header("Received-SPF", received_spf(result, query))
        return None

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        result = tx.notes.get(SPF_RESULT)
        if not (self.options.no_dmarc_policy and result and _author_has_no_policy(tx)):
            return None
        rule = _rule_for(result)
        if rule is None or self.options.no_dmarc_policy < rule.without_policy:
            return None
        return deny(_text(rule, result), status=f"5.{rule.status}", reason=_reason(result))

    async def _configured_level(self) -> int:
        options = self.options
        if options.spf_deny in _LEVEL_OF_SPF_DENY:
            return _LEVEL_OF_SPF_DENY[options.spf_deny]
        if options.reject is not None:
            return options.reject
        for entry in await self.services.config.entries("spfbehavior"):
            if entry.text not in _LEVELS:
                raise ConfigError(entry.where, f"{entry.text!r} is not a number from 0 to 6")
            return int(entry.text)
        return 0

    def _query(self, session: Session, sender: ReversePath) -> SpfQuery:
        """What to ask: about the sender, or about the client if there is none (section 2.4)."""
        client, hello = session.client_address, canonical_domain(session.hello_host)
        me = self.services.me
        if sender is None:
            return SpfQuery(client, hello, "postmaster", "helo", hello, me)
        return SpfQuery(client, sender.domain or "", sender.local_part, "mailfrom", hello, me)

    def _begun(self, tx: Transaction, query: SpfQuery) -> asyncio.Task[SpfResult]:
        """The check under way: for a HELO name that of the session, if its client has one still."""
        services, session = self.services, tx.session
        if query.identity == "mailfrom":
            resolver = resolver_for(tx, services.resolver, "spf")
            return tx.begin(check_host(query, resolver, services.clock))
        known = session.notes.get(self._hello)
        if known is None or known[0] != query:
            check = check_host(query, services.resolver.limited(), services.clock)
            known = session.notes[self._hello] = query, session.begin(check)
        return known[1]

    async def _result(self, tx: Transaction) -> SpfResult | None:
        """The result for this transaction, once it is there; None when nothing is checked."""
        check = tx.notes.get(self._check)
        if check is None:
            return None
        _, task = check
        result = task.result() if task.done() else await asyncio.shield(task)
        if SPF_RESULT not in tx.notes:
            self._tell(tx, result)
        return result

    def _tell(self, tx: Transaction, result: SpfResult) -> None:
        """Put a result where others find it."""
        level = logging.INFO if result.result in _WORTH_A_LINE else logging.DEBUG
        if self.log.isEnabledFor(level):
            self.log.log(level, "%s", _reason(result))
        tx.auth_results.append(spf_auth_result(result))
        tx.notes[SPF_RESULT] = result
        tx.notes[SPFQUERY] = result.result
        tx.notes[DMARC_SPF] = {
            "domain": result.domain,
            "scope": "mfrom" if result.identity == "mailfrom" else "helo",
            "result": result.result,
        }
        if result.result == "pass":
            tx.notes[SPF_PASS_HOST] = result.domain
        tx.session.adjust_karma(_KARMA.get(result.result, 0))

    def _verdict(self, result: SpfResult, level: int) -> Verdict | None:
        rule = _rule_for(result)
        return rule.verdict(level, _text(rule, result), _reason(result)) if rule else None


def _rule_for(result: SpfResult) -> Rule | None:
    """The rule for a result; of HELO names only a fail has one."""
    if result.identity == "helo" and result.result != "fail":
        return None
    return RULES.get(result.result)


def _author_has_no_policy(tx: Transaction) -> bool:
    return any(result.method == "dmarc" and result.result == "none" for result in tx.auth_results)


def _text(rule: Rule, result: SpfResult) -> str:
    """What the client gets, with the domain's own words marked as such (section 6.2)."""
    if not result.explanation:
        return rule.text
    said = printable_ascii(result.explanation, _MOST_EXPLANATION)
    return f"{rule.text}\nThe domain explains: {said}"


def _reason(result: SpfResult) -> str:
    """What the log says."""
    why = result.problem or result.mechanism
    return f"spf={result.result} {result.identity}={result.domain!r} why={why!r}"
