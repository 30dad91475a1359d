# SPDX-License-Identifier: MIT
"""What plugins do with the keywords of EHLO."""

from __future__ import annotations

from qpsmtpd.mail.capabilities import (
    announce_limit,
    limits_line,
    offer_extension,
    offers_extension,
    withdraw_extension,
)
from qpsmtpd.testing import a_session


def test_offered_once_and_withdrawn() -> None:
    session = a_session()
    session.capabilities = ["SIZE 10", "DSN"]
    for _ in range(2):
        offer_extension(session, "DSN")
        offer_extension(session, "SIZE")
    assert session.capabilities == ["SIZE 10", "DSN"]
    assert offers_extension(session, "SIZE")
    withdraw_extension(session, "SIZE")
    assert session.capabilities == ["DSN"]
    assert not offers_extension(session, "SIZE")


def test_the_strictest_limit_counts() -> None:
    session = a_session()
    session.capabilities = ["LIMITS RCPTMAX=100", "DSN"]
    announce_limit(session, "RCPTMAX", 1000)
    announce_limit(session, "RCPTMAX", 0)
    announce_limit(session, "RCPTDOMAINMAX", 1)
    assert session.capabilities == ["DSN", "LIMITS RCPTMAX=100 RCPTDOMAINMAX=1"]
    announce_limit(session, "RCPTMAX", 5)
    assert session.capabilities == ["DSN", "LIMITS RCPTMAX=5 RCPTDOMAINMAX=1"]


def test_what_cannot_be_said_is_left_out() -> None:
    assert limits_line(RCPTMAX=999_999, MAILMAX=0) == "LIMITS RCPTMAX=999999"
    assert limits_line(RCPTMAX=1_000_000) == ""
    session = a_session()
    announce_limit(session, "RCPTMAX", 1_000_000)
    assert session.capabilities == []
