# SPDX-License-Identifier: MIT
"""The guard: batches, the deadline and the circuit breaker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.store import guard
from qpsmtpd.store.guard import Guard
from qpsmtpd.store.operation import PROBE, Get, Operation
from tests.unit.client import on_both_loops, until

PATIENT = 10.0
SHORT = 0.02


class Backend:
    """Answers with the names; what goes wrong is set by the test."""

    place = "somewhere"

    def __init__(self) -> None:
        self.batches: list[list[Operation]] = []
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.closed = 0
        self.probed = asyncio.Event()

    async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
        self.batches.append(list(batch))
        if PROBE in batch:
            self.probed.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [operation.name for operation in batch]

    async def close(self) -> None:
        self.closed += 1


def ask(store: Guard, *names: str) -> list[asyncio.Task[Any]]:
    loop = asyncio.get_running_loop()
    return [loop.create_task(store.ask(Get(name.encode()))) for name in names]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY", 0.001)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@on_both_loops
async def test_what_comes_in_meanwhile_is_the_next_batch() -> None:
    backend = Backend()
    backend.gate.clear()
    store = Guard(backend, PATIENT)
    first = ask(store, "a")
    await until(lambda: bool(backend.batches))
    more = ask(store, "b", "c", "d")
    await asyncio.sleep(0)
    backend.gate.set()
    assert await asyncio.gather(*first, *more) == [b"a", b"b", b"c", b"d"]
    assert [len(batch) for batch in backend.batches] == [1, 3]
    assert await store.ask(Get(b"e")) == b"e"
    await store.close()


@on_both_loops
async def test_a_batch_has_a_largest_size() -> None:
    backend = Backend()
    store = Guard(backend, PATIENT)
    names = [str(number) for number in range(1200)]
    answers = await asyncio.gather(*ask(store, *names))
    assert answers == [name.encode() for name in names]
    assert max(len(batch) for batch in backend.batches) == guard.MAX_BATCH
    await store.close()


@on_both_loops
async def test_who_leaves_stops_nobody() -> None:
    backend = Backend()
    backend.gate.clear()
    store = Guard(backend, PATIENT)
    first, second = ask(store, "a", "b")
    await until(lambda: bool(backend.batches))
    first.cancel()
    await asyncio.wait([first])
    backend.gate.set()
    assert await second == b"b"
    assert backend.cancelled == 0
    await store.close()


@on_both_loops
async def test_nobody_waits_longer_than_the_deadline() -> None:
    backend = Backend()
    backend.gate.clear()
    store = Guard(backend, SHORT)
    first = ask(store, "a")
    await until(lambda: bool(backend.batches))
    outcomes = await asyncio.gather(*first, *ask(store, "b", "c"), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no answer within 0.02s"] * 3
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert backend.cancelled >= 1
    # From now on there is no wait at all: not one turn of the loop.
    with pytest.raises(StoreError, match=r"no answer within 0\.02s"):
        store.ask(Get(b"d")).send(None)
    await store.close()


@pytest.mark.parametrize(
    "error", [StoreError("broken"), OSError("broken"), ValueError("broken"), KeyError("broken")]
)
async def test_any_error_of_a_back_end_is_a_store_error(error: Exception) -> None:
    backend = Backend()
    backend.error = error
    store = Guard(backend, PATIENT)
    for _ in range(2):
        with pytest.raises(StoreError, match="broken"):
            await store.ask(Get(b"a"))
    await store.close()


async def test_an_error_without_words_has_a_name() -> None:
    backend = Backend()
    backend.error = EOFError()
    store = Guard(backend, PATIENT)
    with pytest.raises(StoreError, match="EOFError"):
        await store.ask(Get(b"a"))
    await store.close()


async def test_answers_that_are_too_few_are_an_error() -> None:
    class Short(Backend):
        async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
            return []

    store = Guard(Short(), PATIENT)
    with pytest.raises(StoreError):
        await store.ask(Get(b"a"))
    await store.close()


async def test_an_operation_that_fails_by_itself() -> None:
    class Partly(Backend):
        async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
            return [StoreError("gone") if op.name == b"a" else op.name for op in batch]

    store = Guard(Partly(), PATIENT)
    for _ in range(2):
        outcomes = await asyncio.gather(*ask(store, "a", "b"), return_exceptions=True)
        assert isinstance(outcomes[0], StoreError)
        assert outcomes[1] == b"b"
    await store.close()


async def test_a_probe_that_fails_by_itself() -> None:
    class Refuses(Backend):
        async def run(self, batch: Sequence[Operation]) -> Sequence[Any]:
            await super().run(batch)
            return [StoreError("gone") for _ in batch]

    backend = Refuses()
    backend.error = OSError("broken")
    store = Guard(backend, PATIENT)
    await asyncio.gather(*ask(store, "a"), return_exceptions=True)
    backend.error = None
    await until(lambda: len(backend.batches) > 3)
    with pytest.raises(StoreError, match="broken"):
        await store.ask(Get(b"a"))
    await store.close()


async def test_one_line_when_it_goes_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Backend()
    backend.error = OSError("broken")
    store = Guard(backend, PATIENT)
    outcomes = await asyncio.gather(*ask(store, "a", "b"), return_exceptions=True)
    for _ in range(50):
        outcomes += await asyncio.gather(store.ask(Get(b"c")), return_exceptions=True)
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    await until(lambda: len(backend.batches) > 5)
    assert backend.batches[1:] == [[PROBE]] * (len(backend.batches) - 1)
    assert lines(caplog) == ["store down: somewhere: broken"]
    backend.error = None
    await until(lambda: len(lines(caplog)) == 2)
    said = r"store up again: somewhere seconds=\d+ unanswered=52"
    assert re.fullmatch(said, lines(caplog)[1])
    assert await store.ask(Get(b"d")) == b"d"
    await store.close()


async def test_a_store_that_relapses_is_probed_less_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard, "MAX_PENALTY", 0.003)
    backend = Backend()
    store = Guard(backend, PATIENT)
    waits = []
    for number in range(4):
        backend.error = OSError("broken")
        with pytest.raises(StoreError):
            await store.ask(Get(b"a"))
        waits.append(store._retry)
        backend.error = None
        wanted = 2 * number + 2
        while len(lines(caplog)) < wanted:
            await asyncio.sleep(0)
    assert waits == [0.001, 0.002, 0.003, 0.003]
    monkeypatch.setattr(guard, "RELAPSE", 0)
    backend.error = OSError("broken")
    with pytest.raises(StoreError):
        await store.ask(Get(b"a"))
    assert store._retry == 0.001
    await store.close()


async def test_the_waits_between_probes_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY", 1.0)
    waits: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 7:
            enough.set()
            await asyncio.Event().wait()

    backend = Backend()
    backend.error = OSError("broken")
    store = Guard(backend, PATIENT)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", sleep)
        with pytest.raises(StoreError):
            await store.ask(Get(b"a"))
        await enough.wait()
    assert waits == [1, 2, 4, 8, 8, 8, 8]
    await store.close()


async def test_close_waits_for_answers() -> None:
    backend = Backend()
    backend.gate.clear()
    store = Guard(backend, PATIENT)
    (call,) = ask(store, "a")
    await until(lambda: bool(backend.batches))
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    assert backend.closed == 0
    backend.gate.set()
    await closing
    assert await call == b"a"
    assert backend.closed == 1
    with pytest.raises(StoreError, match="closed"):
        await store.ask(Get(b"a"))


async def test_close_while_it_is_down() -> None:
    backend = Backend()
    backend.error = OSError("broken")
    store = Guard(backend, PATIENT)
    with pytest.raises(StoreError):
        await store.ask(Get(b"a"))
    backend.gate.clear()
    backend.probed.clear()
    await backend.probed.wait()
    await store.close()
    assert backend.closed == 1
    assert backend.cancelled == 1


async def test_a_close_that_hangs_or_fails_is_given_up() -> None:
    class Hangs(Backend):
        async def close(self) -> None:
            await asyncio.Event().wait()

    class Fails(Backend):
        async def close(self) -> None:
            raise OSError("broken")

    await Guard(Hangs(), SHORT).close()
    await Guard(Fails(), SHORT).close()
