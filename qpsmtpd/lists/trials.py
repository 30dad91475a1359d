# SPDX-License-Identifier: MIT
"""Tries the regular expressions of a configuration on hostile texts, before a stranger does.

Whoever chooses the text that an expression is tried on chooses how long that takes: `\\d.*\\d.*x@`
reads a hundred digits in thousands of ways.  Meanwhile the worker serves nobody.  So expressions
with two or more repetitions, which alone can be that slow, are tried in a process of their own
(`python -m qpsmtpd.lists.trials`), which is killed when its time is up.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from qpsmtpd.lists.hostile import Shape, repetitions, shapes_of
from qpsmtpd.lists.patterns import LONGEST, Expression

#: CPU seconds that a search may take: nothing may hold up a worker for longer.
LIMIT = 0.05
#: Seconds for all expressions of a configuration.
PATIENCE = 20.0
#: What costs most at this length is tried at full length.
_SHORT = 96
_WORST = 12
_SHOWN = 24


class _SlowError(Exception):
    """A search was interrupted."""


async def slow_expressions(
    expressions: Sequence[Expression], patience: float = PATIENCE
) -> list[tuple[Expression, str]]:
    """Those that could hold up a worker, with the reason; and those that could not be tried."""
    suspects = [each for each in expressions if repetitions(each.pattern) > 1]
    if not suspects:
        return []
    said = await _ask([(each.pattern.pattern, each.pattern.flags) for each in suspects], patience)
    verdicts = dict(_read(said))
    return [
        (suspect, reason)
        for number, suspect in enumerate(suspects)
        if (reason := verdicts.get(number, "could not be tried"))
    ]


async def _ask(expressions: Sequence[tuple[str, int]], patience: float) -> bytes:
    """What the other process writes before it ends or is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # whoever may write to the current directory must not be imported
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    reading = asyncio.create_task(process.stdout.read())
    process.stdin.write(json.dumps(expressions).encode())
    process.stdin.close()
    await asyncio.wait([reading], timeout=patience)
    if not reading.done():
        process.kill()
    said = await reading
    await process.wait()
    return said


def _read(said: bytes) -> Iterator[tuple[int, str]]:
    """The verdicts: "" is a good one.  The one that was being tried at the end has none."""
    for line in said.splitlines(keepends=True):
        if line.endswith(b"\n"):
            number, reason = json.loads(line)
            yield number, reason


# --- the other process -------------------------------------------------------------------------


def main(source: TextIO, sink: TextIO) -> None:
    """Try the expressions in `source`, and write a line for each to `sink`."""
    for number, (expression, flags) in enumerate(json.load(source)):
        # Worst comes to worst in the middle of this line, which says so.
        print(json.dumps([number, "takes very long"]), file=sink, flush=True)
        print(json.dumps([number, _try(re.compile(expression, flags))]), file=sink, flush=True)


def _try(pattern: re.Pattern[str]) -> str:
    """Why an expression is too slow; "" if it is not."""
    shapes = shapes_of(pattern)
    for length, most in ((_SHORT, len(shapes)), (LONGEST, _WORST)):
        costs: list[tuple[float, Shape]] = []
        for shape in shapes[:most]:
            text = shape.text(length)
            cost = _seconds(pattern, text)
            if cost > LIMIT:
                beginning = text[:_SHOWN].encode("ascii", "backslashreplace").decode()
                return f"takes more than {LIMIT * 1000:.0f} ms for '{beginning}...'"
            costs.append((cost, shape))
        shapes = [shape for _, shape in sorted(costs, reverse=True)]
    return ""


def _seconds(pattern: re.Pattern[str], text: str) -> float:
    """CPU seconds of a search; one that takes far too long is interrupted."""
    begin = time.thread_time()
    try:
        with _limited(2 * LIMIT):
            pattern.search(text, 0, LONGEST)
    except _SlowError:
        return 2 * LIMIT
    return time.thread_time() - begin


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt a search that takes more CPU time: `re` looks for signals now and then."""
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _SlowError


if __name__ == "__main__":
    signal.signal(signal.SIGVTALRM, _interrupt)
    main(sys.stdin, sys.stdout)
