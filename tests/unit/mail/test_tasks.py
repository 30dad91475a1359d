# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/tasks.py."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from qpsmtpd.errors import DnsError
from qpsmtpd.mail.tasks import Tasks
from qpsmtpd.testing import a_session


async def result(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


async def failure(error: Exception) -> Any:
    await asyncio.sleep(0)
    raise error


async def test_who_awaits_gets_the_result() -> None:
    session = a_session()
    assert await session.begin(result(7)) == 7
    with pytest.raises(DnsError):
        await session.begin(failure(DnsError("SERVFAIL")))
    await session.end_tasks()


async def test_what_runs_is_cancelled_and_over() -> None:
    tasks, cleaned = Tasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    task = tasks.begin(work())
    await asyncio.sleep(0)
    await tasks.end()
    assert task.cancelled()
    assert cleaned == [True]


@pytest.mark.parametrize(("error", "count"), [(DnsError("SERVFAIL"), 0), (ValueError("x"), 1)])
async def test_a_failure_that_nobody_saw(error: Exception, count: int) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    tasks = Tasks()
    tasks.begin(failure(error))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await tasks.end()
    del tasks, error
    gc.collect()
    assert len(complaints) == count


async def test_what_never_began_is_closed(recwarn: pytest.WarningsRecorder) -> None:
    tasks = Tasks()
    tasks.begin(asyncio.sleep(60))
    await tasks.end()
    gc.collect()
    assert not recwarn.list
