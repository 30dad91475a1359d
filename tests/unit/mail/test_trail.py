# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/trail.py."""

from __future__ import annotations

from qpsmtpd.mail.trail import MOST_ANSWERS, Answer, Trail
from qpsmtpd.mail.verdict import accept, deny


def test_it_is_bounded_and_the_decision_is_kept() -> None:
    trail = Trail()
    for number in range(MOST_ANSWERS + 5):
        trail.decide(Answer("rcpt_ok", "rcpt", accept(), seconds=number))
    assert len(trail) == MOST_ANSWERS
    assert trail.omitted == 5
    assert trail.decision is not None
    assert trail.decision.seconds == MOST_ANSWERS + 4
    assert trail.decided_by == "rcpt_ok"


def test_an_answer() -> None:
    answer = Answer("dnsbl", "connect", deny("Listed", reason="by list.example"))
    assert (answer.refused, answer.broken, answer.ends) == (True, False, True)
    assert answer.reason == "by list.example"
    assert Answer("x", "connect", deny("Listed")).reason == "Listed"
    assert Answer("x", "helo_parse", "host").verdict is None
    assert not Answer("x", "helo_parse", "host").refused
    assert not Answer("x", "connect", None, "fault").ends
    assert Answer("x", "connect", deny(), "fault").ends
    assert not Answer("x", "connect", deny(), "shadow").ends
