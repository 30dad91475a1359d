# SPDX-License-Identifier: MIT
"""Decisions for tests."""

from __future__ import annotations

from typing import Any

from qpsmtpd.decisions.decision import Decision, Said
from qpsmtpd.testing import FakeClock

BEGIN = FakeClock().now()


def a_decision(number: int = 0, **changes: Any) -> Decision:
    """A message that was refused, `number` seconds after the beginning."""
    decision = Decision(
        time=BEGIN + number,
        id=f"A.B.{number:X}.1",
        outcome="refused",
        hook="message",
        plugin="spamassassin",
        reply="552 5.7.1 spam score exceeded threshold",
        reason="score 12 of 5",
        ip="192.0.2.7",
        name="mail.client.example",
        helo="client.example",
        tls="TLSv1.3",
        user="",
        sender="Sender@Client.example",
        about="",
        results="",
        recipients=("user@example.test", "other@example.test"),
        recipient_count=2,
        size=4711,
        seconds=0.5,
        message_id="<1@client.example>",
        next_hop_id="",
        trail=(
            Said("connect", "dnsbl", "shadow", "deny", "listed", 0.01),
            Said("data_post", "spamassassin", "decided", "deny", "score 12 of 5", 0.4),
        ),
    )
    return decision._replace(**changes)
