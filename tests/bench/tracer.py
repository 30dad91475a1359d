# SPDX-License-Identifier: MIT
"""qpsmtpd, with the bytecodes that it executes counted; a program of its own.

    python tracer.py DIRECTORY run --config ...

Each SIGUSR2 writes what was counted so far into DIRECTORY, as 0.json, 1.json and so on: a list of
file, function, bytecodes.  The first begins the count.  Threads are not counted.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class Tracer:
    """Counts bytecodes by the code that they are part of."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._counts: Counter[CodeType] = Counter()
        self._written = 0

    def snapshot(self, *_: Any) -> None:
        """Write what was counted so far, and go on counting."""
        sys.settrace(None)
        path = self._directory / f"{self._written}.json"
        rows = [(code.co_filename, code.co_qualname, n) for code, n in self._counts.items()]
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(rows))
        unfinished.rename(path)
        self._written += 1
        sys.settrace(self._entered)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._executed

    def _executed(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._counts[frame.f_code] += 1
        return self._executed


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, Tracer(Path(sys.argv.pop(1))).snapshot)
    # As `python -m qpsmtpd` does: where the function is that is called then differs by commit.
    runpy.run_module("qpsmtpd", run_name="__main__", alter_sys=True)
