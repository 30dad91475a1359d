# SPDX-License-Identifier: MIT
"""earlytalker: refuse clients that talk before it is their turn.

    earlytalker [wait SECONDS] [check-at CONNECT|DATA ...] [defer-reject]
                [teaser] [reject ...]

RFC 5321 section 3.1 has the client wait for the greeting. Many senders of spam do not: a client
that sends anything within `wait` seconds after connecting is refused with 550 in place of the
greeting, and loses a point of karma. A patient client is greeted after `wait` seconds. One that
talks later than that, while plugins below this one are still waiting for the DNS, is refused at
MAIL.

With `teaser` the greeting has two lines, of which the first (`220-`) is sent before the wait. Many
robots take that for the greeting, and talk; no client that speaks SMTP does. But once the first
line is out, a client that any plugin refuses can be told so only in reply to its first command.
HAProxy's `option smtpchk` takes a greeting of two lines for a failure; so the checks of a proxy of
`proxy_networks` get one line. Others need `option tcp-check` with `tcp-check expect rstring ^220`.

`check-at DATA` (which may be given along with `check-at CONNECT`) makes the same test after the
command DATA: a client that sends the message before it is asked to is refused with 554.

With `defer-reject` a client that talked before the greeting is greeted all the same, and refused
at MAIL, with 450 unless `reject_type` says otherwise.

Exempt clients and those with a good history (plugin karma) need not wait. Another plugin may set
the note `earlytalker_wait` to the seconds that a client has to wait.

Old form: `action deny` (refuse), `action denysoft` (refuse with a temporary code), `action log`.

Differences from the Perl version: `action denysoft` gave a permanent code; at DATA, what the client
sent in the same packet as the command is noticed too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    Note,
    Plugin,
    RejectOptions,
    ReversePath,
    Seconds,
    Session,
    Transaction,
    Verdict,
    opt,
)

#: Seconds that this client has to wait, in place of the option `wait`.
WAIT = Note[float]("earlytalker_wait")
#: The client talked before the greeting.
TALKED = Note[bool]("earlytalker")
#: It did so after we had looked.
LATE = Note[bool]("earlytalker.late")

_GOOD_HISTORY = 5

_ACTIONS = {
    "deny": ("1", "perm"),
    "denysoft": ("1", "temp"),
    "log": ("0", ""),
}


@dataclass(frozen=True, kw_only=True)
class EarlytalkerOptions(RejectOptions):
    """Options of earlytalker."""

    wait: Seconds = opt(Seconds(1), doc="How long the client has to keep quiet.")
    check_at: tuple[Literal["CONNECT", "DATA"], ...] = opt(
        (), doc="When to test: CONNECT (the default), DATA, or both: the option may be repeated."
    )
    defer_reject: bool = opt(
        False, flag=True, doc="Refuse clients that talked before the greeting at MAIL, not at once."
    )
    teaser: bool = opt(False, flag=True, doc="Send a first line of the greeting before the wait.")
    action: Literal["", "deny", "denysoft", "log"] = opt(
        "", doc="Old form of reject and reject_type."
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """`action denysoft` is `reject 1 reject_type temp`; explicit options take precedence."""
        given = [part for word in words for part in word.split("=", 1)]
        implied: list[str] = []
        for name, action in itertools.pairwise(given):
            if name == "action" and action in _ACTIONS:
                reject, reject_type = _ACTIONS[action]
                implied = ["reject", reject]
                implied += ["reject_type", reject_type] if reject_type else []
        # In front, so that explicit options take precedence.
        return implied + given


class Earlytalker(Plugin[EarlytalkerOptions]):
    """The test for clients that do not wait."""

    watches_wire = True

    async def start(self) -> None:
        self._check_at = self.options.check_at or ("CONNECT",)

    async def hook_connect(self, session: Session) -> Verdict | None:
        if "CONNECT" not in self._check_at:
            return None
        session.early_talk_is_judged = self.mode != "shadow"
        if not await self._talks(session, teaser=self.options.teaser):
            return None
        session.notes[TALKED] = True
        return None if self.options.defer_reject else self._reject(session, "the greeting")

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        session = tx.session
        if session.notes.get(TALKED):
            is_due = self.options.defer_reject
        else:
            is_due = session.talked_early and self._talked_late(session)
        return self._reject(session, "the greeting") if is_due else None

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        if "DATA" not in self._check_at or not await self._talks(tx.session):
            return None
        return self._reject(tx.session, "354")

    async def _talks(self, session: Session, *, teaser: bool = False) -> bool:
        if self._is_spared(session):
            return False
        wait = session.notes.get(WAIT, self.options.wait)
        if not await session.early_input(wait, teaser=teaser):
            return False
        session.adjust_karma(-1)
        return True

    def _talked_late(self, session: Session) -> bool:
        """Whether to refuse for it now; what is only noted, is noted once."""
        if "CONNECT" not in self._check_at or self._is_spared(session):
            return False
        if LATE in session.notes:
            return self.options.reject == "1"
        session.notes[LATE] = True
        session.adjust_karma(-1)
        return True

    def _is_spared(self, session: Session) -> bool:
        return self.immune(session) or (session.karma_history or 0) > _GOOD_HISTORY

    def _reject(self, session: Session, event: str) -> Verdict | None:
        return self.reject(
            session,
            f"You must not send before {event}",
            status="5.5.1",
            default="temp" if self.options.defer_reject else "perm",
            reason=f"talked before {event}",
        )
