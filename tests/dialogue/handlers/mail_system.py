# SPDX-License-Identifier: MIT
"""mail_system: a plugin that delivers for one user, and says so when it is asked."""

from __future__ import annotations

from qpsmtpd.api import (
    KNOWN,
    NoOptions,
    Plugin,
    Recipient,
    ReversePath,
    Transaction,
    Verdict,
    Verification,
    accept,
    unknown,
    unsure,
)


class MailSystem(Plugin[NoOptions]):
    async def knows_recipient(self, recipient: Recipient, sender: ReversePath) -> Verification:
        answers = {"user": KNOWN, "later": unsure("greylisted"), "former": unknown("5.2.1")}
        return answers.get(recipient.address.local_part, unknown())

    async def hook_queue(self, tx: Transaction) -> Verdict:
        return accept("Delivered")
