# SPDX-License-Identifier: MIT
"""Tasks: work that a session or a transaction began, and that ends with it at the latest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.notes import Noted

T = TypeVar("T")

#: Seconds that cancelled tasks may take to end.
CANCEL_SECONDS = 10.0


class Tasks:
    """Begins tasks, and ends those that are left."""

    __slots__ = ("_begun", "_unanswered")

    def __init__(self) -> None:
        self._begun: list[tuple[asyncio.Task[Any], Coroutine[Any, Any, Any]]] = []
        self._unanswered: list[asyncio.Task[Any]] = []

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine.  Whoever awaits the task gets its result or its exception."""
        task = asyncio.get_running_loop().create_task(self._run(coroutine))
        self._begun.append((task, coroutine))
        return task

    @property
    def under_way(self) -> bool:
        """Whether one of them has not ended yet."""
        return any(not task.done() for task, _ in self._begun)

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await coroutine
        except QpsmtpdError:
            if (task := asyncio.current_task()) is not None:
                self._unanswered.append(task)
            raise

    async def end(self) -> None:
        """Cancel what is still running, and wait until it has ended.

        A fault that nobody has seen is logged by asyncio.  It is not a fault if the DNS or the
        store did not answer and nobody wanted to know any more.
        """
        running = [task for task, _ in self._begun if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_SECONDS)
        for task, coroutine in self._begun:
            if task.cancelled():
                # It may have been cancelled before it began, and nobody would ever await this.
                coroutine.close()
        over = (task for task, _ in self._begun if task.cancelled())
        for task in (*over, *self._unanswered):
            _forget_error(task)
        self._begun.clear()
        self._unanswered.clear()


def _forget_error(task: asyncio.Task[Any]) -> None:
    """Let a task's error count as seen, and let go of where it happened.

    That leads to the session, and by its notes back to the task: only Python's collector would find
    them, and hold the loop for a while.
    """
    if not task.done():
        return
    try:
        # Not `exception`: that does not make the task forget the place (Python 3.11).
        task.result()
    except (asyncio.CancelledError, QpsmtpdError) as error:
        error.__traceback__ = None


class TaskOwner(Noted):
    """A session or a transaction.

    tasks: what `begin` began; None until then, which a subclass has to say.
    """

    __slots__ = ("tasks",)

    tasks: Tasks | None

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine alongside the others; it is cancelled when its owner ends."""
        if self.tasks is None:
            self.tasks = Tasks()
        return self.tasks.begin(coroutine)

    async def end_tasks(self) -> None:
        """Cancel what was begun, and wait until it has ended; the core does so at the end."""
        if self.tasks is not None:
            await self.tasks.end()
