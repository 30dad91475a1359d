# SPDX-License-Identifier: MIT
"""What a server costs: CPU time and memory of all its processes, those that ended included.

A server runs in a control group of its own.  The kernel counts the CPU time of the group; memory
is the sum of its processes' proportional set sizes, so that what they share counts once.  Memory
of the kernel, such as socket buffers, is in neither figure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SAMPLE_INTERVAL = 0.2  # seconds between two looks at the memory


class Cost:
    """The cost of the processes in one control group (version 2)."""

    def __init__(self, group: Path) -> None:
        self._group = group
        self.peak_memory = 0  # bytes

    def cpu_seconds(self) -> float:
        """CPU time since the group was made, user and system."""
        return cpu_seconds((self._group / "cpu.stat").read_text())

    def processes(self) -> list[int]:
        """The processes of the group, by their ids."""
        return list(map(int, (self._group / "cgroup.procs").read_text().split()))

    def memory(self) -> int:
        """Bytes that the processes of the group use now."""
        total = sum(map(_memory_of, self.processes()))
        self.peak_memory = max(self.peak_memory, total)
        return total

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep `peak_memory` up to date meanwhile."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            self.memory()

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self.memory)
            await asyncio.sleep(SAMPLE_INTERVAL)


def cpu_seconds(cpu_stat: str) -> float:
    """CPU time that a group's file cpu.stat tells."""
    values = dict(line.split() for line in cpu_stat.splitlines())
    return int(values["usage_usec"]) / 1e6


def proportional_size(smaps_rollup: str) -> int:
    """Bytes of memory that a process' file smaps_rollup tells; what is shared counts in part."""
    for line in smaps_rollup.splitlines():
        name, *values = line.split()
        if name == "Pss:":
            return int(values[0]) * 1024
    return 0


def _memory_of(pid: int) -> int:
    # The process may end while we look.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return proportional_size(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return 0
