# SPDX-License-Identifier: MIT
"""random_error: fail at random, to test how clients cope.

    random_error [PERCENT]

This percentage of messages (1, by default) meets a temporary error on the way: 4xx at connect,
HELO, MAIL, RCPT, DATA, or the end of the message, in four cases out of ten followed by the end of
the connection. Clients try again later, so no mail is lost, but some is late. For testing only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from qpsmtpd.api import (
    Plugin,
    Recipient,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    defer,
    opt,
)

#: Hooks that a session with one message passes.
STEPS = 6
DISCONNECTS = 0.4


@dataclass(frozen=True, kw_only=True)
class RandomErrorOptions:
    """Options of random_error."""

    percent: float = opt(
        1.0, positional=True, least=0, most=100, doc="The percentage of messages that fail."
    )


class RandomError(Plugin[RandomErrorOptions]):
    """Rolls dice in every hook."""

    async def start(self) -> None:
        self.random: random.Random = random.SystemRandom()
        self._probability = 1 - (1 - self.options.percent / 100) ** (1 / STEPS)

    async def hook_connect(self, session: Session) -> Verdict | None:
        return self._throw()

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        return self._throw()

    hook_ehlo = hook_helo

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return self._throw()

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return self._throw()

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return self._throw()

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        return self._throw()

    def _throw(self) -> Verdict | None:
        if self.random.random() >= self._probability:
            return None
        return defer("Random failure", disconnect=self.random.random() < DISCONNECTS)
