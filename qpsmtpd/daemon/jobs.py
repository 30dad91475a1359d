# SPDX-License-Identifier: MIT
"""Jobs: what plugins do from time to time, in one of all the processes that share the store.

Every worker of every machine has the same jobs.  Before each run it takes a lease in the store;
whoever gets it runs the job, and the others try again a period later.  The lease outlives the
process, so a job does not run again at once because the daemon was restarted.  Without a store no
job runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.services import Job, Services

log = logging.getLogger(__name__)

#: The part of the period that a lease lasts: it must be over when its owner tries again.
LEASE = 0.95
#: Seconds that cancelled jobs may take to end.
CANCEL_SECONDS = 10.0

Sleep = Callable[[float], Awaitable[None]]


class Jobs:
    """The jobs of one configuration.  They run from `begin` to `end`."""

    def __init__(self, services: Services, sleep: Sleep = asyncio.sleep) -> None:
        self._store = services.store.scoped("jobs")
        self._jobs = services.jobs
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """The configuration is in use."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._repeat(job)) for job in self._jobs]

    async def end(self) -> None:
        """The configuration is out of use: cancel what is running."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    async def _repeat(self, job: Job) -> None:
        while True:
            if await self._is_ours(job):
                await self._run(job)
            await self._sleep(job.seconds)

    async def _is_ours(self, job: Job) -> bool:
        try:
            return await self._store.add(job.name, b"taken", job.seconds * LEASE) is None
        except StoreError:
            return False

    async def _run(self, job: Job) -> None:
        log.debug("job=%s begins", job.name)
        try:
            await job.method()
        except StoreError as error:
            log.warning("job=%s incomplete: %s", job.name, error)
        except Exception:
            log.exception("fault job=%s", job.name)
