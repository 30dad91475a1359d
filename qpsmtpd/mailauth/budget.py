# SPDX-License-Identifier: MIT
"""Budgets for the questions about one message, whoever asks them.

What a message makes us ask is up to its sender, so there is a limit to it.  SPF, DKIM and DMARC
have one each: a forger's SPF record that asks for all there is must not make it unknown whether
somebody else's domain has signed the message, or what that domain wants done.
"""

from __future__ import annotations

from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Transaction
from qpsmtpd.plugin.services import Resolver

QUESTIONS = 40
SECONDS = 20.0


def resolver_for(tx: Transaction, resolver: Resolver, purpose: str = "") -> Resolver:
    """The resolver on a budget of this transaction.

    purpose: what asks; all that have the same share one budget.
    """
    budget = Note[Resolver](f"mailauth.resolver.{purpose}")
    limited = tx.notes.get(budget)
    if limited is None:
        limited = tx.notes[budget] = resolver.limited(questions=QUESTIONS, seconds=SECONDS)
    return limited
