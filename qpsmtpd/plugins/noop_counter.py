# SPDX-License-Identifier: MIT
"""noop_counter: hang up on clients that do nothing but NOOP.

    noop_counter [MAX]

The MAX-th NOOP in a row (the third, by default) is answered 500 5.5.0, and the connection is
closed. Any other command starts the count anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import Note, Plugin, Session, Verdict, deny, opt

#: The number of the last NOOP among the session's commands, and how many there were in a row.
STREAK = Note[tuple[int, int]]("noop_counter.streak")


@dataclass(frozen=True, kw_only=True)
class NoopCounterOptions:
    """Options of noop_counter."""

    max: int = opt(3, positional=True, least=1, doc="The NOOP in a row at which to hang up.")


class NoopCounter(Plugin[NoopCounterOptions]):
    """Counts NOOPs in a row by the numbers of the session's commands."""

    async def hook_noop(self, session: Session, argument: str) -> Verdict | None:
        last, streak = session.notes.get(STREAK, (-1, 0))
        streak = streak + 1 if session.commands == last + 1 else 1
        session.notes[STREAK] = (session.commands, streak)
        if streak < self.options.max:
            return None
        return deny("Too many NOOPs in a row", status="5.5.0", disconnect=True)
