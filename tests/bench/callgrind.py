# SPDX-License-Identifier: MIT
"""A server under valgrind's callgrind: the instructions and cache misses of a window of time.

CPU time of the same program differs by ten per cent and more on a machine that does other things as
well; instructions in user space do not.  Callgrind counts nothing until it is told to, so that the
start of the server takes seconds, not minutes.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.bench.laboratory import ServerError

#: What an instruction and a miss of a first-level cache take, in cycles; see README.md.
CYCLES_PER_INSTRUCTION, CYCLES_PER_I1_MISS, CYCLES_PER_D1_MISS = 1 / 3, 12, 10
CYCLES_PER_MICROSECOND = 3000
PATIENCE = 120.0  # seconds for an order to be carried out

#: The caches of a common server, so that figures of different machines can be compared.
_CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64")
#: Part of the server's environment: nothing is to differ from one run to the next.
ENVIRONMENT = {"PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Counts:
    """What happened in user space."""

    instructions: float
    i1_misses: float
    d1_misses: float

    @property
    def microseconds(self) -> float:
        """An estimate of the time that it takes."""
        cycles = (
            self.instructions * CYCLES_PER_INSTRUCTION
            + self.i1_misses * CYCLES_PER_I1_MISS
            + self.d1_misses * CYCLES_PER_D1_MISS
        )
        return cycles / CYCLES_PER_MICROSECOND

    def per(self, number: int) -> Counts:
        """The share of each of so many."""
        return Counts(self.instructions / number, self.i1_misses / number, self.d1_misses / number)


def read_dump(text: str) -> Counts:
    """The totals of a dump of callgrind that simulated caches.  Raises ValueError."""
    headers = dict(line.split(":", 1) for line in text.splitlines() if _is_header(line))
    try:
        names, figures = headers["events"].split(), map(int, headers["totals"].split())
        # Events at the end that did not happen are left out.
        totals = {**dict.fromkeys(names, 0), **dict(zip(names, figures, strict=False))}
        data_misses = totals["D1mr"] + totals["D1mw"]
        return Counts(totals["Ir"], totals["I1mr"], data_misses)
    except KeyError as missing:
        raise ValueError(f"the dump of callgrind lacks {missing}") from None


def _is_header(line: str) -> bool:
    return line.startswith(("events:", "totals:"))


def unavailable() -> str:
    """Why nothing can be counted here; empty when it can."""
    if shutil.which("valgrind") and shutil.which("vgdb"):
        return ""
    return "valgrind is not installed: apt-get install valgrind"


class Callgrind:
    """Callgrind in a server's process.

    directory: its own, empty.
    """

    def __init__(self, directory: Path) -> None:
        self._output = directory / "callgrind.out"
        self._pipes = directory / "vgdb"
        self._dumps = 0

    def around(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The command that runs this command under callgrind."""
        return (
            *("valgrind", "--tool=callgrind", "--cache-sim=yes", *_CACHES),
            *("--instr-atstart=no", f"--callgrind-out-file={self._output}"),
            *(f"--vgdb-prefix={self._pipes}", "--", *words),
        )

    async def start(self) -> None:
        """Count from now on, with empty caches.  Raises ServerError."""
        await self._tell("instrumentation on")

    async def zero(self) -> None:
        """Forget what was counted; the caches stay as they are.  Raises ServerError."""
        await self._tell("zero")

    async def counts(self) -> Counts:
        """What was counted since `zero`.  Raises ServerError."""
        await self._tell("dump")
        self._dumps += 1
        dump = self._output.with_name(f"{self._output.name}.{self._dumps}")
        try:
            return read_dump(dump.read_text())
        except (OSError, ValueError) as error:
            raise ServerError(str(error)) from None

    async def _tell(self, order: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *("vgdb", f"--vgdb-prefix={self._pipes}", *order.split()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                output, _ = await process.communicate()
        except TimeoutError:
            raise ServerError(f"callgrind does not obey: {order}") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            words = " ".join(output.decode(errors="replace").split())
            raise ServerError(f"callgrind does not obey: {order}: {words}")
