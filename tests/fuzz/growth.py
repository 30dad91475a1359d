# SPDX-License-Identifier: MIT
"""How the cost of code grows with the length of what it reads.

Cost is CPU time of this thread, the least of several runs, and only ratios of it are judged: ten
times the input may cost thirty times as much.  Quadratic code costs a hundred times as much.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

LENGTHS = (1_000, 10_000, 100_000)
#: Ten times the input may cost this many times as much.
MOST_GROWTH = 30.0
#: Seconds that count as nothing: the resolution of the clock, and the first use of anything.
NOTHING = 0.0001
#: How long the text is by which the worst shapes are found.
_TRIAL = 800
_WORST = 4
_ATTEMPTS = 4
_ENOUGH = 0.3
#: CPU seconds for all trials of one function, thousands of them, and for measuring one shape: what
#: needs more will not end at all.  A disturbed machine takes several times as long as a quiet one.
PATIENCE = 60.0

Run = Callable[[T], object]


class EndlessError(AssertionError):
    """Code did not end within its CPU time."""


def growth_problem(
    run: Run[T], make: Sequence[Callable[[int], T]], patience: float = PATIENCE
) -> str:
    """What is wrong with the growth of `run` over the worst of these inputs; "" if it is linear.

    Each of `make` makes an input of about so many characters.  Raises EndlessError when trying all
    of them, or measuring one, takes more CPU seconds than `patience`.
    """
    with _limited(patience):
        costs = sorted(
            ((_seconds(run, each(_TRIAL), 1), number) for number, each in enumerate(make)),
            reverse=True,
        )
    for _, number in costs[:_WORST]:
        with _limited(patience):
            if problem := _problem(run, make[number]):
                return f"{make[number](60)!r}: {problem}"
    return ""


def _problem(run: Run[T], make: Callable[[int], T]) -> str:
    """Whatever disturbs a measurement makes it longer: a good one counts, a bad one is repeated."""
    problem = ""
    for attempt in range(_ATTEMPTS):
        problem = _measured(run, make, 3 + 2 * attempt)
        if not problem:
            break
    return problem


def _measured(run: Run[T], make: Callable[[int], T], repeats: int) -> str:
    before = 0.0
    figures: list[str] = []
    for length in LENGTHS:
        cost = _seconds(run, make(length), repeats)
        figures.append(f"{length} take {cost * 1e3:.3f} ms")
        if before and cost > MOST_GROWTH * max(before, NOTHING):
            return ", ".join(figures)
        before = cost
    return ""


def _seconds(run: Run[T], text: T, repeats: int) -> float:
    """The least CPU time of several runs; where it is long, less disturbs it."""
    least = spent = _one(run, text)
    for _ in range(repeats - 1):
        if spent > _ENOUGH:
            break
        cost = _one(run, text)
        least, spent = min(least, cost), spent + cost
    return least


def _one(run: Run[T], text: T) -> float:
    enabled = gc.isenabled()
    gc.disable()
    try:
        begin = time.thread_time()
        run(text)
        return time.thread_time() - begin
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End what takes more CPU time; `re` looks for signals while it works."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise EndlessError(f"did not end within {seconds:.0f} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
