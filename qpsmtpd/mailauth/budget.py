# SPDX-License-Identifier: MIT
"""One budget for all questions about one message, whoever asks them.

What a message makes us ask is up to its sender, so SPF, DKIM and DMARC share what there is.
"""

from __future__ import annotations

from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Transaction
from qpsmtpd.plugin.services import Resolver

QUESTIONS = 40
SECONDS = 20.0

_BUDGET = Note[Resolver]("mailauth.resolver")


def resolver_for(tx: Transaction, resolver: Resolver) -> Resolver:
    """The resolver on the budget of this transaction."""
    limited = tx.notes.get(_BUDGET)
    if limited is None:
        limited = tx.notes[_BUDGET] = resolver.limited(questions=QUESTIONS, seconds=SECONDS)
    return limited
