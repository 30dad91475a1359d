# SPDX-License-Identifier: MIT
"""headers: refuse messages whose header section breaks RFC 5322, or whose date is absurd.

    headers [require From,Date] [past DAYS] [future DAYS]
            [reject 0|1|naughty] [reject_type TYPE]

The message is refused at its end with 552 5.6.0 (452 with `reject_type temp`) if

- it is empty;
- it lacks a field of `require` (From);
- it has more than one of a field that may occur only once: Date, From, Sender, Reply-To, To, Cc,
  Bcc, Message-Id, In-Reply-To, References, Subject (RFC 5322 section 3.6);
- its Date is more than `past` days ago or more than `future` days ahead, if these are given. A Date
  that cannot be read is tolerated.

Exempt clients may send any message that is not empty.

A line with the older name check_basicheaders requires Date as well, and takes `days N` or just N
for `past N future N`, as that plugin did.

Differences from the Perl version: there the client got a number instead of the reason, and a
missing or repeated field was rejected by the plugin naughty even with `reject 0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from qpsmtpd.api import Headers, Plugin, RejectOptions, Transaction, Verdict, opt

SINGULAR = (
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-Id",
    "In-Reply-To",
    "References",
    "Subject",
)
DAY = 86400


@dataclass(frozen=True, kw_only=True)
class HeadersOptions(RejectOptions):
    """Options of headers."""

    require: tuple[str, ...] = opt(("From",), doc="Fields that must be present, e.g. From,Date.")
    past: float = opt(0.0, least=0, doc="How many days old a Date may be; 0 means any number.")
    future: float = opt(
        0.0, least=0, doc="How many days a Date may be in the future; 0 means any number."
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """The arguments of check_basicheaders, whose name is the first word then."""
        if "check_basicheaders" not in words[:1]:
            return words
        _, *given = (part for word in words for part in word.split("=", 1))
        if len(given) == 1:
            given = ["days", *given]
        implied = ["require", "From,Date"]
        if "days" in given[:-1]:
            at = given.index("days")
            implied += ["past", given[at + 1], "future", given[at + 1]]
            del given[at : at + 2]
        # In front, so that explicit options take precedence.
        return implied + given


class HeaderCheck(Plugin[HeadersOptions]):
    """Judges the header section."""

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.size == 0 or tx.message is None:
            return self.reject(tx.session, "The message is empty", status="5.6.0", default="perm")
        if self.immune(tx.session):
            return None
        problem = self._problem(tx.message.headers)
        if problem is None:
            return None
        tx.session.adjust_karma(-1)
        return self.reject(tx.session, problem, status="5.6.0", default="perm")

    def _problem(self, headers: Headers) -> str | None:
        for name in self.options.require:
            if name not in headers:
                return f"The header field {name} is missing"
        for name in SINGULAR:
            if headers.count(name) > 1:
                return f"There is more than one header field {name}, see RFC 5322 section 3.6"
        return self._date_problem(headers.get("Date"))

    def _date_problem(self, date: str | None) -> str | None:
        sent = _seconds(date) if date else None
        if sent is None:
            return None
        age = (self.services.clock.now() - sent) / DAY
        if self.options.past and age > self.options.past:
            return "The Date is too far in the past"
        if self.options.future and -age > self.options.future:
            return "The Date is too far in the future"
        return None


def _seconds(date: str) -> float | None:
    """A date of RFC 5322 section 3.3 in seconds since the epoch; None when it is not a date."""
    try:
        moment = parsedate_to_datetime(date)
        # "-0000" is UTC from somewhere unknown; Python returns it without a zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
