# SPDX-License-Identifier: MIT
"""The keywords that a client is offered by the reply to EHLO, and their parameters."""

from __future__ import annotations

from qpsmtpd.mail.session import Session

LIMITS = "LIMITS"
#: RFC 9422 section 4: a limit has six digits at most.
_MOST = 999_999


def offer_extension(session: Session, keyword: str) -> None:
    """Offer an extension, unless it is offered already."""
    if not offers_extension(session, keyword):
        session.capabilities.append(keyword)


def withdraw_extension(session: Session, keyword: str) -> None:
    """Do not offer an extension after all."""
    session.capabilities[:] = [line for line in session.capabilities if _word(line) != keyword]


def offers_extension(session: Session, keyword: str) -> bool:
    """Whether the client was offered an extension."""
    return any(_word(line) == keyword for line in session.capabilities)


def _word(line: str) -> str:
    return line.partition(" ")[0].upper()


def limits_line(**limits: int) -> str:
    """The keyword LIMITS (RFC 9422); what has no limit, or one that cannot be said, is left out.

    "" without any.
    """
    words = [f"{name}={number}" for name, number in limits.items() if 0 < number <= _MOST]
    return " ".join((LIMITS, *words)) if words else ""


def announce_limit(session: Session, name: str, most: int) -> None:
    """Announce a limit such as RCPTMAX, where nothing stricter is announced; 0 is none."""
    if not most:
        return
    lines = [line for line in session.capabilities if _word(line) == LIMITS]
    words = [word.partition("=") for line in lines for word in line.split()[1:]]
    found = {key: int(value) for key, _, value in words if value.isdecimal()}
    found[name] = min(most, found.get(name, most))
    withdraw_extension(session, LIMITS)
    if line := limits_line(**found):
        session.capabilities.append(line)
