# SPDX-License-Identifier: MIT
"""Deadlines: how long one client may make us wait.

A deadline is a number, which costs no timer to set: the one timer of a connection looks at it when
it fires, and sets itself anew.  All times are those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadlines:
    """The deadlines of one connection, and its timer.

    command, data: seconds that the client has for a command, and for more of a message.
    idle: seconds that it has for what is read now, one of the two.
    due: when what we wait for must have come.
    """

    __slots__ = ("_expired", "_loop", "_session_end", "_timer", "command", "data", "due", "idle")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._expired: Callable[[], None] | None = None
        self._session_end = 0.0
        self.command = 0.0
        self.data = 0.0
        self.idle = 0.0
        self.due = 0.0

    def start(
        self, expired: Callable[[], None], *, command: float, data: float, session: float
    ) -> None:
        """Call `expired` whenever the client is late; `session`: seconds for all of it."""
        now = self._loop.time()
        self._expired = expired
        self.command, self.data, self.idle = command, data, command
        self.due = now + command
        self._session_end = now + session
        self._timer = self._loop.call_at(now + min(session, command, data), self._look)

    @property
    def session_is_over(self) -> bool:
        """Whether the time for all of it has passed."""
        return self._loop.time() >= self._session_end

    def extend(self, seconds: float) -> None:
        """What we wait for now must have come within these seconds."""
        self.due = self._loop.time() + seconds

    def shorten(self, patience: float) -> None:
        """From now on wait only these seconds, be it for the client to send or to read."""
        self.command = min(self.command, patience)
        self.data = min(self.data, patience)
        self.idle = min(self.idle, patience)
        self.due = min(self.due, self._loop.time() + patience)
        self._cancel_timer()
        self._look()

    def stop(self) -> None:
        """No deadline holds any more."""
        self._cancel_timer()
        # The connection knows us: without the circle both are freed at once.
        self._expired = None

    def stop_after(self, seconds: float, abort: Callable[[], None]) -> None:
        """No deadline holds any more but this one, for the end of the connection."""
        self.stop()
        self._timer = self._loop.call_later(seconds, abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The timer: is the client late?"""
        if self._expired is None:
            return
        now = self._loop.time()
        due = min(self.due, self._session_end)
        if now >= due:
            self._expired()
        # A deadline that is set from now on may be nearer than this one.
        next_look = now + min(self.command, self.data)
        if now < due:
            next_look = min(due, next_look)
        self._timer = self._loop.call_at(next_look, self._look)
