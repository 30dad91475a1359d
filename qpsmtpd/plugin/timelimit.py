# SPDX-License-Identifier: MIT
"""time_limit: an end to what is awaited, as asyncio.timeout sets it, in half of the time.

Every stranger meets a handful of them, in hooks that wait and in look-ups.  That of asyncio has its
ends awaited, can be rescheduled, and keeps states for that.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class time_limit:  # noqa: N801 (it is used as a function)
    """After this many seconds, cancel what is awaited within it, and raise TimeoutError at its end.

        with time_limit(3.0):
            await something

    seconds: None for no limit.  expired: whether they have passed; a TimeoutError of something
        else leaves it False.
    """

    __slots__ = ("_cancelling", "_seconds", "_task", "_timer", "expired")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.expired = False

    def __enter__(self) -> Self:
        if self._seconds is not None:
            loop = asyncio.get_running_loop()
            task = asyncio.current_task(loop)
            if task is None:
                raise RuntimeError("only a task can be told to stop waiting")
            self._task = task
            #: How many others want it to end: then a cancellation is not ours alone.
            self._cancelling = task.cancelling()
            self._timer = loop.call_later(self._seconds, self._expire)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        if not self.expired:
            return
        alone = self._task.uncancel() <= self._cancelling
        if alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()
