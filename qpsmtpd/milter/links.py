# SPDX-License-Identifier: MIT
"""Links: the connections of one worker to one milter that wait for the next client.

Only with a milter that knows QUIT_NC (libmilter of Sendmail 8.14 does); there is no way to ask.
"""

from __future__ import annotations

import asyncio

from qpsmtpd.milter.link import Link, Manner

#: Connections that wait at most.
MOST = 50


class Links:
    """Opens links, and keeps those that may be used again; `idle` is for how many seconds, or 0."""

    def __init__(self, manner: Manner, idle: float) -> None:
        self._manner = manner
        self._idle_time = idle
        self._idle: list[tuple[float, Link]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> Link:
        """A link for a client.  Raises MilterError."""
        while self._idle:
            _, link = self._idle.pop()
            if await link.is_quiet():
                return link
            link.abort()
        return await self.fresh()

    async def fresh(self) -> Link:
        """A link that no client has used.  Raises MilterError."""
        return await Link.open(self._manner)

    async def give_back(self, link: Link) -> None:
        """The client has left.  Raises MilterError."""
        if not (self._idle_time and link.reusable) or len(self._idle) >= MOST:
            link.leave()
            return
        await link.release()
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time() + self._idle_time, link))
        if self._timer is None:
            self._timer = loop.call_later(self._idle_time, self._close_old)

    def close(self) -> None:
        """Close those that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, link in self._idle:
            link.leave()
        self._idle.clear()

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] <= loop.time():
            self._idle.pop(0)[1].leave()
        self._timer = None
        if self._idle:
            self._timer = loop.call_at(self._idle[0][0], self._close_old)
