# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/blocking.py."""

from __future__ import annotations

import asyncio
import threading

import pytest

from qpsmtpd.logs.records import ContextFilter, bind
from qpsmtpd.plugin.blocking import BlockingPool
from qpsmtpd.testing import a_session, services


async def test_a_value_and_an_exception() -> None:
    lent = services()
    assert await lent.run_blocking(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await lent.run_blocking(divmod, 7, 0)
    await lent.blocking.close()


async def test_few_run_at_a_time_and_the_others_wait() -> None:
    pool = BlockingPool(threads=2)
    go, running, most = threading.Event(), [0], [0]
    lock, both = threading.Lock(), threading.Event()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == 2:
                both.set()
        go.wait(10)
        with lock:
            running[0] -= 1

    calls = [asyncio.create_task(pool.run(work)) for _ in range(6)]
    await asyncio.to_thread(both.wait, 10)
    go.set()
    await asyncio.gather(*calls)
    assert most == [2]
    await pool.close()


async def test_log_lines_know_the_session() -> None:
    session = a_session()
    bind(session)

    def subject() -> str:
        import logging

        record = logging.LogRecord("x", logging.INFO, "", 0, "text", (), None)
        ContextFilter().filter(record)
        return str(record.__dict__["session"])

    pool = BlockingPool()
    assert await pool.run(subject) == session.id
    await pool.close()
    bind(None)


async def test_who_hangs_holds_up_nobody_at_the_end() -> None:
    pool = BlockingPool(threads=1)
    go, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go.wait(10)

    hanging = asyncio.create_task(pool.run(hang))
    waiting = asyncio.create_task(pool.run(hang))
    await asyncio.to_thread(begun.wait, 10)
    await pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await hanging
