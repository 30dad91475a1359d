# SPDX-License-Identifier: MIT
"""Deadlines: how long one client may make us wait.

A deadline is a plain number, so setting one needs no timer: now and then somebody looks whether it
has passed.  That is the Watch, for all connections whose deadlines are not near; one that is near
has a timer.  All times are the event loop's, in seconds.

A client that sends an octet from time to time is slow as well.  So the time for a command is that
for the whole line, and a message has an end: it comes `message` seconds after its beginning, and
later by what its octets take at the least rate.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

#: The end of a message while none is being read.
NEVER = math.inf
#: Seconds: a deadline that is not farther away has a timer.  More than one, see `Watch.add`.
_NEAR = 2.0


class Watch:
    """Looks at the deadlines of all connections of an event loop, with one timer for each second.

    Most clients leave long before a deadline.  If uvloop had to make a timer for each connection,
    and to close it again, that would be 2 to 6 % of a message's CPU time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._rounds: dict[int, set[Deadlines]] = {}

    def add(self, deadlines: Deadlines, when: float) -> set[Deadlines]:
        """Look at these up to a second before that time.  Returns the round that they are in."""
        second = int(when)
        found = self._rounds.get(second)
        if found is None:
            found = self._rounds[second] = set()
            self.loop.call_at(second, self._look, second)
        found.add(deadlines)
        return found

    def _look(self, second: int) -> None:
        found = self._rounds[second]
        try:
            # One by one, as whoever is late may end others, which then leave the round.
            while found:
                found.pop().check()
        finally:
            if found:
                # One has failed; the others are still to be looked at.
                self.loop.call_at(second, self._look, second)
            else:
                del self._rounds[second]


class Deadlines:
    """The deadlines of one connection.

    command, data: seconds that the client has to send a command, or more of a message.
    idle: the one of the two that applies to what is being read.
    due: when what we are waiting for must have arrived.
    message_end: when the message must have arrived, as things are; NEVER while none is read.
    """

    __slots__ = (
        "_expired",
        "_loop",
        "_message",
        "_octet",
        "_round",
        "_session_end",
        "_timer",
        "_watch",
        "command",
        "data",
        "due",
        "idle",
        "message_end",
    )

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._loop = watch.loop
        self._round: set[Deadlines] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expired: Callable[[], None] | None = None
        self._session_end = 0.0
        self.command = 0.0
        self.data = 0.0
        self.idle = 0.0
        self.due = 0.0
        self.message_end = NEVER
        self._message = NEVER
        self._octet = 0.0

    def start(
        self,
        expired: Callable[[], None],
        *,
        command: float,
        data: float,
        session: float,
        message: float = NEVER,
        min_rate: float = 0,
    ) -> None:
        """Call `expired` whenever the client is late.

        session: seconds for the whole session.
        message: seconds for a message, whatever its size.
        min_rate: octets of a message that allow a second more; 0: none do.
        """
        now = self._loop.time()
        self._message, self._octet = message, 1 / min_rate if min_rate else 0.0
        self._expired = expired
        self.command, self.data, self.idle = command, data, command
        self.due = now + command
        self._session_end = now + session
        self._check_at(now + min(session, command, data, message))

    @property
    def session_is_over(self) -> bool:
        """Whether the time for the whole session has passed."""
        return self._loop.time() >= self._session_end

    @property
    def exceeded(self) -> str:
        """The setting that a client which is late has exceeded."""
        if self.session_is_over:
            return "session_timeout"
        return "data_deadline" if self._loop.time() >= self.message_end else "timeout"

    def begin_message(self) -> None:
        """From now on a message is being read."""
        self.message_end = self._loop.time() + self._message

    def end_message(self) -> None:
        """From now on commands are being read."""
        self.idle, self.message_end = self.command, NEVER

    def allow_for(self, octets: int) -> None:
        """This much of the message has come."""
        self.message_end += octets * self._octet

    def extend(self, seconds: float) -> None:
        """Allow this many seconds, from now on, for what we are waiting for."""
        self.due = self._loop.time() + seconds

    def shorten(self, patience: float) -> None:
        """From now on wait at most this many seconds for the client to send or to read."""
        self.allow(min(self.command, patience), min(self.data, patience))

    def allow(self, command: float, data: float) -> None:
        """From now on the client has these seconds.

        If they are less than before, what we are waiting for is due that much earlier; if they are
        more, they count from the next wait on.
        """
        idle = command if self.idle == self.command else data
        self.command, self.data, self.idle = command, data, idle
        self.due = min(self.due, self._loop.time() + idle)
        self._check_no_more()
        self.check()

    def stop(self) -> None:
        """Drop all deadlines."""
        self._check_no_more()
        # The connection knows us: without the cycle both are freed at once.
        self._expired = None

    def stop_after(self, seconds: float, abort: Callable[[], None]) -> None:
        """Replace all deadlines by this one, for the end of the connection."""
        self.stop()
        self._timer = self._loop.call_later(seconds, abort)

    def _check_at(self, when: float) -> None:
        if when - self._loop.time() > _NEAR:
            self._round = self._watch.add(self, when)
        else:
            self._timer = self._loop.call_at(when, self.check)

    def _check_no_more(self) -> None:
        if self._round is not None:
            self._round.discard(self)
            self._round = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """Is the client late?"""
        self._round = self._timer = None
        if self._expired is None:
            return
        now = self._loop.time()
        due = min(self.due, self._session_end, self.message_end)
        if now >= due:
            self._expired()
        # A deadline that is set from now on may be earlier than this one.
        next_check = now + min(self.command, self.data, self._message)
        if now < due:
            next_check = min(due, next_check)
        self._check_at(next_check)
