# SPDX-License-Identifier: MIT
"""Blame: whether a permanent refusal is about our client's message, or about us.

What is wrong with the message is our client's to know, so its 5xx is passed on.  What is wrong with
us, or between us and the next hop, would make every message bounce: the client gets a 4xx instead,
and the log an ERROR.  In doubt it is us: a message deferred without need is not lost.

    the next hop says                                   is about
    --------------------------------------------------  ------------------------------------------
    anything before MAIL (greeting, EHLO, STARTTLS,     us; this never gets here
        AUTH, XCLIENT)
    530, 534, 535, 538 (RFC 4954), 521 (RFC 7504)       us: our authority, a host without mail
    x.3.1, x.3.2, x.3.3, x.3.5                          us: the mail system itself is not in order
    x.7.4, x.7.8 to x.7.14                              us: our authentication, our encryption
    x.7.23 to x.7.25, x.7.28                            us: our address, which is not the client's
                                                            (SPF, reverse name, rate)
    any other x.1, x.2, x.3, x.4, x.6, and x.7.2 to     the message: its addresses, its mailboxes,
        x.7.30 that are not above                           its content, its authentication
    any other reply to the message itself               the message
    words about HELO, the client host, relaying or      us
        authentication, in a reply without any of
        these statuses
    500 to 504, 555 and x.5 (protocol)                  us, unless it names the sender's or the
                                                            recipient's address
    anything else at MAIL                               us, unless it names the sender, or is 552
                                                            or 553: our host is all that the
                                                            next hop knows besides
    anything else at RCPT or DATA                       the message

Statuses are those of RFC 3463 and its registry.  With XCLIENT the next hop judges the client and
not us, so nobody asks here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from qpsmtpd.nexthop.hopreply import HopReply

Step = Literal["MAIL", "RCPT", "DATA", "message"]

#: What the client is told in place of a refusal of us (RFC 3463: system incorrectly configured).
OUR_STATUS = "4.3.5"

_OUR_CODES = frozenset({521, 530, 534, 535, 538})
_PROTOCOL_CODES = frozenset({500, 501, 502, 503, 504, 555})
_SENDER_CODES = frozenset({552, 553})
_OUR_STATUSES = frozenset({"3.1", "3.2", "3.3", "3.5"}) | {
    f"7.{detail}" for detail in (4, *range(8, 15), 23, 24, 25, 28)
}
_UNCLEAR_STATUSES = frozenset({"7.0", "7.1"})
#: Microsoft's details of 5.7 begin above those of the registry.
_REGISTERED_DETAILS = 30

_about_us = re.compile(
    r"\b(?:helo|ehlo|client host|authenticat\w{1,20}|not logged in|log in first|starttls|must issue"
    r"|relay(?:ing)? [a-z ]{0,30}(?:denied|permitted|allowed|prohibited|rejected|refused)"
    r"|(?:to|not|don't) relay|not owned by user|client does not have|blocked using"
    r"|banned sending)\b"
).search
_in_brackets = re.compile(r"<[^<>]*>").sub


def concerns_us(reply: HopReply, step: Step, addresses: Sequence[str]) -> bool:
    """Whether a permanent refusal is about us.  addresses: the sender's and the recipient's."""
    status = reply.status[2:]
    if reply.code in _OUR_CODES or status in _OUR_STATUSES:
        return True
    if _is_about_message(status) or step == "message":
        return False
    text, names_address = _without(addresses, reply)
    if _about_us(text):
        return True
    if reply.code in _PROTOCOL_CODES or status.startswith("5."):
        return not names_address
    if step == "MAIL":
        return not (reply.code in _SENDER_CODES or names_address or "sender" in text)
    return False


def _is_about_message(status: str) -> bool:
    subject, _, detail = status.partition(".")
    if subject == "7":
        return status not in _UNCLEAR_STATUSES and int(detail) <= _REGISTERED_DETAILS
    return subject in ("1", "2", "3", "4", "6") and status != "3.0"


def _without(addresses: Sequence[str], reply: HopReply) -> tuple[str, bool]:
    """The words of a reply without addresses in them, and whether it named one of these."""
    text = " ".join(reply.lines).lower()
    bare = text
    for address in filter(None, addresses):
        bare = bare.replace(address.lower(), "")
    return _in_brackets("", bare), bare != text


def as_temporary(reply: HopReply) -> HopReply:
    """What stands in for a refusal of us."""
    return HopReply(451, (f"{OUR_STATUS} {reply}",))
