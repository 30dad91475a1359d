# SPDX-License-Identifier: MIT
"""headers: refuse messages whose header section breaks RFC 5322, or whose date is absurd.

    headers [require From,Date] [past DAYS] [future DAYS] [reject 0|1|naughty] [reject_type TYPE]

At the end of the message, 552 5.6.0 (with `reject_type temp` 452) when

- nothing at all was sent;
- a field of `require` (From) is missing;
- a field is there twice that may be only once: Date, From, Sender, Reply-To, To, Cc, Bcc,
  Message-Id, In-Reply-To, References, Subject (RFC 5322 section 3.6);
- the Date is more than `past` days ago or more than `future` days ahead, if these are given. A Date
  that cannot be read is tolerated.

Relay clients and clients and senders on a white list may send what they like, but nothing.

Differences from the Perl version: the client read a number instead of the reason, and a missing or
doubled field was rejected by plugin naughty even with `reject 0`.
"""

from __future__ import annotations

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

    require: tuple[str, ...] = opt(("From",), doc="Fields that must be there, e.g. From,Date.")
    past: float | None = opt(None, doc="The greatest age of a Date in days; any without it.")
    future: float | None = opt(
        None, doc="How many days a Date may be in the future; any without it."
    )


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
        if self.options.past is not None and age > self.options.past:
            return "The Date is too far in the past"
        if self.options.future is not None and -age > self.options.future:
            return "The Date is too far in the future"
        return None


def _seconds(date: str) -> float | None:
    """A date of RFC 5322 section 3.3 in seconds since the epoch; None when it is none."""
    try:
        moment = parsedate_to_datetime(date)
        # "-0000" is UTC from somewhere unknown; Python returns it without a zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
