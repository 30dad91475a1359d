# SPDX-License-Identifier: MIT
"""qpsmtpd on asyncio's own loop, with what holds it measured; a program of its own.

    python heldloop.py FILE run --config ...

SIGUSR2 writes into FILE, as JSON, what has held the loop for longest since it was last asked: the
seconds, and what it was.  On uvloop the same code runs, called by a loop that shows nothing.
"""

from __future__ import annotations

import gc
import json
import runpy
import signal
import sys
import time
from asyncio import events
from pathlib import Path
from typing import Any


class Stopwatch:
    """Takes the time of everything that the loop calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = events.Handle._run
        self._longest = 0.0
        self._what = ""
        self._collecting = self._began = 0.0

    def install(self) -> None:
        """Measure from now on."""
        stopwatch = self

        def _run(self: events.Handle) -> None:
            stopwatch._timed(self)

        events.Handle._run = _run  # type: ignore[method-assign]
        gc.callbacks.append(self.collecting)

    def _timed(self, handle: events.Handle) -> None:
        self._collecting = 0.0
        started, cpu = time.perf_counter(), time.thread_time()
        self._run(handle)
        took, cpu = time.perf_counter() - started, time.thread_time() - cpu
        if took > self._longest:
            self._longest = took
            self._what = f"{_name_of(handle)}, {cpu * 1000:.0f} ms of CPU time, of it "
            self._what += f"{self._collecting * 1000:.0f} ms for the garbage collector"

    def collecting(self, phase: str, info: dict[str, int]) -> None:
        """For gc.callbacks: how long the collector takes."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collecting += time.perf_counter() - self._began

    def tell(self, *_: Any) -> None:
        """Write the longest, and begin anew."""
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text(json.dumps([self._longest, self._what]))
        unfinished.rename(self._path)
        self._longest, self._what = 0.0, ""


def _name_of(handle: events.Handle) -> str:
    """What a handle calls."""
    callback = handle._callback  # type: ignore[attr-defined]
    return str(getattr(callback, "__qualname__", type(callback).__name__))


if __name__ == "__main__":
    stopwatch = Stopwatch(Path(sys.argv.pop(1)))
    stopwatch.install()
    signal.signal(signal.SIGUSR2, stopwatch.tell)
    runpy.run_module("qpsmtpd", run_name="__main__", alter_sys=True)
