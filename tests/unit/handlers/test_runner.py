# SPDX-License-Identifier: MIT
"""A handler's thread: what happens there harms nobody else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator

import pytest

from qpsmtpd.handlers import runner as module
from qpsmtpd.handlers.runner import Runner
from qpsmtpd.handlers.statuses import HandlerError
from qpsmtpd.logs import records
from qpsmtpd.testing import a_session


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    runner = Runner("test")
    yield runner
    await runner.stop()
    assert not threads_of("test")


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


async def where() -> tuple[str, asyncio.AbstractEventLoop]:
    return threading.current_thread().name, asyncio.get_running_loop()


async def test_work_is_done_in_a_thread_with_a_loop(runner: Runner) -> None:
    assert await runner.run(where()) == ("test", runner.loop)
    assert runner.loop is not asyncio.get_running_loop()


async def test_what_blocks_there_does_not_block_here(runner: Runner) -> None:
    gate = threading.Event()

    async def block() -> str:
        gate.wait(20)
        return "released"

    blocked = asyncio.create_task(runner.run(block()))
    await asyncio.sleep(0)
    gate.set()  # reached only if this loop turns
    assert await blocked == "released"


async def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_an_exit_is_a_fault(runner: Runner, error: BaseException) -> None:
    with pytest.raises(HandlerError, match=f"raised {type(error).__name__}"):
        await runner.run(fail(error))
    assert await runner.run(where())


async def test_an_exception_arrives_as_it_is(runner: Runner) -> None:
    with pytest.raises(ValueError, match="wrong"):
        await runner.run(fail(ValueError("wrong")))


async def test_who_gives_up_cancels_what_waits(runner: Runner) -> None:
    began, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(runner.run(wait()))
    await asyncio.to_thread(began.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(ended.wait, 20)


async def test_what_is_begun_is_not_waited_for_and_ends_with_the_thread() -> None:
    runner = Runner("test")
    began, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    runner.begin(wait())
    await asyncio.to_thread(began.wait, 20)
    await runner.stop()
    assert ended.is_set()
    assert runner.loop.is_closed()


async def test_one_that_never_comes_back_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.01)
    runner, gate = Runner("stuck"), threading.Event()

    async def block() -> None:
        gate.wait(20)

    runner.begin(block())
    await runner.stop()
    assert "plugin=stuck: the handler does not stop" in caplog.text
    (thread,) = threads_of("stuck")
    assert thread.daemon
    gate.set()
    await asyncio.to_thread(thread.join, 20)
    assert runner.loop.is_closed()


async def test_log_lines_know_their_session(runner: Runner) -> None:
    session = a_session()
    record = logging.LogRecord("x", logging.INFO, "", 0, "text", (), None)

    async def look() -> str:
        records.ContextFilter().filter(record)
        return str(record.__dict__["session"])

    records.bind(session)
    try:
        assert await runner.run(look()) == session.id
    finally:
        records.bind(None)
