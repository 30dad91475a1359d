# SPDX-License-Identifier: MIT
"""`make fuzz`: more dialogues and inputs than a test run has time for.

    make fuzz [DIALOGUES=100000] [INPUTS=1000000] [SEED=1] [FIRST=0]

A fault prints SEED and FIRST of its dialogue; with DIALOGUES=1 only that is played again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.laboratory import ALL, FEW, MOST_HELD, fuzz
from tests.fuzz.parsers import PARSERS
from tests.fuzz.parsing import faults_of, shares

#: Event loop and plugins.
WAYS = (("asyncio", FEW), ("uvloop", ALL), ("asyncio", ALL), ("uvloop", FEW))


def main() -> int:
    """The exit status: 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--dialogues", type=int, default=100_000)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    print(f"SEED={arguments.seed}", flush=True)
    found = _inputs(arguments.seed, arguments.inputs) if arguments.inputs else 0
    found += asyncio.run(_dialogues(arguments.seed, arguments.first, arguments.dialogues))
    return 1 if found else 0


def _inputs(seed: int, total: int) -> int:
    number = shares(total)
    faults = [fault for each in PARSERS for fault in faults_of(each, seed, number[each.name])]
    print(f"{sum(number.values())} inputs for {len(PARSERS)} parsers, {len(faults)} faults")
    for fault in faults[:20]:
        print(f"  {fault}")
    return len(faults)


async def _dialogues(seed: int, first: int, total: int) -> int:
    """Play them in all ways; few of them in each."""
    found = 0
    ways = WAYS if total >= len(WAYS) else WAYS * total
    share = total // len(ways) if total >= len(WAYS) else 1
    for loop, plugins in ways if total else ():
        with tempfile.TemporaryDirectory(prefix="qpsmtpd-fuzz-") as name:
            begin = first if total < len(WAYS) else first + WAYS.index((loop, plugins)) * share
            report = await fuzz(Path(name), plugins, loop, seed=seed, first=begin, number=share)
        kind = "all plugins" if plugins is ALL else "few plugins"
        problems = report.problems
        if report.held > MOST_HELD:
            problems.append(f"the loop was held for {report.held * 1000:.0f} ms")
        print(f"{loop}, {kind}: {report}", *problems[:20], sep="\n  ", flush=True)
        found += len(problems)
    return found


if __name__ == "__main__":
    sys.exit(main())
