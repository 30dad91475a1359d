# SPDX-License-Identifier: MIT
"""Runner: a thread with an event loop of its own, in which one handler lives.

These are the surroundings that handlers know from aiosmtpd's Controller.  Only one piece of a
handler's code runs at a time, and what blocks (files, smtplib, a sleep) blocks the sessions that
wait for this handler, and nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from qpsmtpd.handlers.statuses import HandlerError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that a handler may go on after it was told to stop; then its thread is left behind.
STOP_TIMEOUT = 10.0


class Runner:
    """Runs coroutines for the daemon's event loop in the thread of a handler."""

    def __init__(self, name: str) -> None:
        """`name`: of the plugin, for the thread and the log."""
        self.loop = asyncio.new_event_loop()
        self._name = name
        self._owner = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._owner.create_future()
        # A handler that never comes back must not keep the daemon from exiting.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine over there.  Cancelled here, it is cancelled there when it waits."""
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(_survived(work), self.loop)
        )

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine over there that nobody waits for."""
        asyncio.run_coroutine_threadsafe(work, self.loop)

    async def stop(self) -> None:
        """End the thread, once what is running in it waits or has ended."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await asyncio.shield(self._ended)
        except TimeoutError:
            log.error("plugin=%s: the handler does not stop, and is left behind", self._name)
        else:
            # It has nothing left to do.
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_cancel_all())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
            with contextlib.suppress(RuntimeError):  # the daemon is gone already
                self._owner.call_soon_threadsafe(self._ended.set_result, None)


async def _survived(work: Coroutine[Any, Any, T]) -> T:
    """The result.  What would end a process, or its event loop, is a fault like any other."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise HandlerError(f"raised {error!r}") from error


async def _cancel_all() -> None:
    """Cancel what is still running in this loop, and wait for its end."""
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
