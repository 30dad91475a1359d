# SPDX-License-Identifier: MIT
"""What scanners have found in a message, for other plugins: notes of the transaction."""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Transaction


@dataclass(frozen=True, slots=True)
class SpamResult:
    """What a spam filter thinks of a message.

    plugin: the name of the plugin in the chain.
    score, required: its points, and those from which on it is spam.
    tests: the tests that applied, by their names.
    action: what the filter would have done ("add header"), "" if it does not say.
    autolearn: what it learned the message as: "ham", "spam", "no" and others.
    """

    plugin: str
    is_spam: bool
    score: float
    required: float
    tests: tuple[str, ...] = ()
    action: str = ""
    autolearn: str = ""


@dataclass(frozen=True, slots=True)
class VirusResult:
    """What a virus scanner found; `name` is "" if that is nothing."""

    plugin: str
    name: str


#: The results of all spam filters and virus scanners that have seen the message, in their order.
SPAM_RESULTS = Note[tuple[SpamResult, ...]]("spam_results")
VIRUS_RESULTS = Note[tuple[VirusResult, ...]]("virus_results")


def add_spam_result(tx: Transaction, result: SpamResult) -> None:
    """Let other plugins know."""
    tx.notes[SPAM_RESULTS] = (*tx.notes.get(SPAM_RESULTS, ()), result)


def add_virus_result(tx: Transaction, result: VirusResult) -> None:
    """Let other plugins know."""
    tx.notes[VIRUS_RESULTS] = (*tx.notes.get(VIRUS_RESULTS, ()), result)
