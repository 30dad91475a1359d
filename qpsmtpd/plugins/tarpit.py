# SPDX-License-Identifier: MIT
"""tarpit: keep suspicious clients waiting for replies, while there is room for others.

    tarpit [delay 5] [session 60] [clients 100] [karma 3]
           [reason karma|naughty|listed ...]

Senders of spam are in a hurry, and many leave rather than wait. Each reply to HELO, EHLO, MAIL,
RCPT and DATA comes `delay` seconds late, until a session has waited for `session` seconds in all.
The reply to the message itself is never late: a client that gives up then would send it again.
Clients have to wait for one of these reasons (`reason`; by default any of them):

- karma: the client has lost `karma` points in this session, or its history is bad (plugin karma);
- naughty: a plugin has left its rejection to the plugin naughty;
- listed: dnsbl or rhsbl would refuse it, or have refused something before.

This never costs another client its connection: at most `clients` clients of each worker process
wait; while connections are scarce (the setting `stress_percent`) all are answered at once; and when
a client connects and no connection is left, the client that has waited longest is told 421 4.3.2,
which is temporary, and its connection is given to the new one.

Put this plugin below those that find the reasons, and above `naughty` and `rcpt_ok`. Exempt clients
do not wait. Under tcpserver each client has a process of its own, so that `clients` has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from qpsmtpd.api import (
    Answer,
    Note,
    Plugin,
    Recipient,
    ReversePath,
    Seconds,
    Session,
    Transaction,
    Verdict,
    defer,
    opt,
)

Reason = Literal["karma", "naughty", "listed"]

#: The plugins whose refusals mean that a client or a sender is listed.
_LISTS = frozenset({"dnsbl", "rhsbl"})

#: Of `hook_timeout`, which is 120 seconds unless somebody says otherwise.
_LONGEST = 60

LET_GO = defer(
    "Too many connections, please try again later", status="4.3.2", code=421, disconnect=True
)


@dataclass(frozen=True, kw_only=True)
class TarpitOptions:
    """Options of tarpit."""

    delay: Seconds = opt(
        Seconds(5),
        least=0,
        most=_LONGEST,
        doc="How much later each reply comes; less than hook_timeout.",
    )
    session: Seconds = opt(
        Seconds(60), least=0, doc="How much later all replies of a session come together."
    )
    clients: int = opt(
        100, least=1, doc="How many clients of each worker process wait at a time, at most."
    )
    reason: tuple[Reason, ...] = opt(
        (), doc="Why clients have to wait; the option may be repeated. Without it, for any of them."
    )
    karma: int = opt(3, least=1, doc="The points that a client has to have lost.")


class Tarpit(Plugin[TarpitOptions]):
    """Delays replies."""

    remedy = "the client comes back by itself; a larger max_connections leaves room for it"

    after = ("relay", "whitelist", "karma", "earlytalker", "fcrdns", "dnsbl", "rhsbl")

    async def start(self) -> None:
        self._reasons = self.options.reason or get_args(Reason)
        self._waiting = 0
        #: Seconds for which the client was to wait so far.
        self._spent = Note[float](f"{self.name}.spent")

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        return await self._delay(session)

    hook_ehlo = hook_helo

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        return await self._delay(tx.session)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._delay(tx.session)

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        return await self._delay(tx.session)

    # --- private ----------------------------------------------------------------------------

    async def _delay(self, session: Session) -> Verdict | None:
        """Let the client wait for this reply, if it is to."""
        reason = self._reason_of(session)
        spent = session.notes.get(self._spent, 0.0)
        seconds = min(self.options.delay, self.options.session - spent)
        if not reason or seconds <= 0 or self._waiting >= self.options.clients:
            return None
        session.notes[self._spent] = spent + seconds
        if not spent:
            self.log.info("has to wait for replies reason=%s", reason)
        return None if self.mode == "shadow" else await self._wait(session, seconds)

    async def _wait(self, session: Session, seconds: float) -> Verdict | None:
        self._waiting += 1
        try:
            stays = await session.tarpit(seconds)
        finally:
            self._waiting -= 1
        if stays:
            return None
        self.log.info("has to go, as somebody else needs its connection")
        return LET_GO

    def _reason_of(self, session: Session) -> str:
        """Why this client has to wait; "" if it has not."""
        if self.immune(session):
            return ""
        return next((reason for reason in self._reasons if self._applies(reason, session)), "")

    def _applies(self, reason: str, session: Session) -> bool:
        if reason == "karma":
            return session.karma <= -self.options.karma or (session.karma_history or 0) < 0
        if reason == "naughty":
            return session.has_deferred_rejects
        return any(map(_is_listing, _said_about(session)))


def _said_about(session: Session) -> Iterator[Answer]:
    """What was said of the client, and of its message."""
    yield from session.trail
    if session.transaction is not None:
        yield from session.transaction.trail


def _is_listing(answer: Answer) -> bool:
    return answer.refused and answer.plugin.partition(":")[0] in _LISTS
