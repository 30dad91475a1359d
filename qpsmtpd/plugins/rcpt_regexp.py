# SPDX-License-Identifier: MIT
"""rcpt_regexp: decide on recipients by patterns.

File `rcpt_regexp`, one rule a line, the first that matches decides:

    user@example.com    OK
    /^user-\\d+@/        DENY      this address was for one message only
    /@example\\.net$/    DENYSOFT

A line is a pattern, a verdict, and the text that the client gets. A pattern between slashes is a
regular expression, found anywhere in the recipient's address; any other is the whole address. Case
does not matter, nor does the spelling of an international domain. The verdict is DECLINED (nothing
is decided here, and no further rule is tried), OK (accepted, wherever it goes: this makes the
daemon relay), DENY, DENYSOFT, DENY_DISCONNECT or DENYSOFT_DISCONNECT.

Differences from the Perl version: there an invalid line was skipped; here it is an error, at start.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import (
    Address,
    ConfigError,
    Entry,
    NoOptions,
    Pattern,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    address_key,
    read_each,
    verdict_from_word,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of the file: an address's key or a pattern; the verdict None is DECLINED."""

    pattern: Pattern | str
    verdict: Verdict | None

    def matches(self, address: Address) -> bool:
        """Whether it applies to this address."""
        if isinstance(self.pattern, str):
            return self.pattern == address.key
        if self.verdict is None or self.verdict.accepted:
            return self.pattern.admits(address.spellings)
        return self.pattern.refuses(address.spellings)


class RcptRegexp(Plugin[NoOptions]):
    """Rules on recipients, from the top down."""

    may_accept_recipients = True
    files = {"rcpt_regexp": "Patterns of recipients: pattern, code, text."}

    async def start(self) -> None:
        self._rules = read_each(await self.services.config.entries("rcpt_regexp"), _rule)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        address = recipient.address
        return next((rule.verdict for rule in self._rules if rule.matches(address)), None)


def _rule(entry: Entry) -> Rule:
    pattern, code, *text = [*entry.text.split(maxsplit=2), "", ""][:3]
    try:
        verdict = verdict_from_word(code, "".join(text).strip())
    except ValueError as error:
        raise ConfigError(entry.where, f"must be: PATTERN VERDICT [TEXT]; {error}") from None
    if pattern.startswith("/"):
        if len(pattern) < 3 or not pattern.endswith("/"):
            raise ConfigError(entry.where, f"{pattern!r} has no slash at its end")
        return Rule(Pattern(pattern, entry.where), verdict)
    return Rule(address_key(pattern), verdict)
