# SPDX-License-Identifier: MIT
"""Live: one part of a page, made anew every few seconds for all who look at it.

It is made once, however many there are, and not at all when nobody looks.  Whoever reads slowly
gets the newest one when he is ready, and nothing in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

from qpsmtpd.dashboard.archive import BusyError

log = logging.getLogger(__name__)

#: Browsers that may look at the same time.
MOST_VIEWERS = 32


class Live:
    """Makes a text every `seconds`, and gives it to all viewers."""

    def __init__(self, make: Callable[[], Awaitable[str]], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._viewers = 0
        self._making: asyncio.Task[None] | None = None
        self._next: asyncio.Future[str] | None = None

    async def texts(self) -> AsyncGenerator[str, None]:
        """Each text, as it is made.  Raises BusyError when there are too many viewers."""
        if self._viewers >= MOST_VIEWERS:
            raise BusyError("too many look at this page")
        self._viewers += 1
        try:
            while True:
                yield await asyncio.shield(self._coming())
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._stop()

    def close(self) -> None:
        """Let all viewers go."""
        self._stop()
        if self._next is not None:
            self._next.cancel()

    def _coming(self) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        if self._next is None or self._next.done():
            self._next = loop.create_future()
        if self._making is None:
            self._making = loop.create_task(self._go_on())
        return self._next

    def _stop(self) -> None:
        if self._making is not None:
            self._making.cancel()
            self._making = None

    async def _go_on(self) -> None:
        while True:
            try:
                text = await self._make()
            except Exception:
                log.exception("fault: what is shown live cannot be made")
            else:
                if self._next is not None and not self._next.done():
                    self._next.set_result(text)
            await asyncio.sleep(self._seconds)
