# SPDX-License-Identifier: MIT
"""BlockingPool: threads for what plugins cannot do without blocking.

They are separate from those of the spool and of the handover, so that a library that hangs in one
plugin does not hold up unrelated mail.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qpsmtpd.metrics.catalogue import BLOCKING_CALLS
from qpsmtpd.metrics.counting import FIGURES

T = TypeVar("T")

#: How many calls run at once, for all plugins of one configuration; the others wait.
THREADS = 8


class BlockingPool:
    """A bounded pool of threads, which starts when it is first used."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._calls = 0
        FIGURES.each_second(self._sample)

    def _sample(self) -> None:
        FIGURES.add_sample(BLOCKING_CALLS, self._calls)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """What the function returns.  It runs to its end even if nobody waits any more."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "qpsmtpd-plugin")
        context = contextvars.copy_context()
        call = functools.partial(context.run, function, *args)
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            self._calls -= 1

    async def close(self) -> None:
        """Start no more calls.  Does not wait for calls that hang."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
