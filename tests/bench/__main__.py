# SPDX-License-Identifier: MIT
"""python -m tests.bench: measure, and print the tables.  README.md says how."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop

from tests.bench.cases import CASES, Case, Effort, Subject
from tests.bench.chart import draw
from tests.bench.client import RefusedError
from tests.bench.laboratory import Laboratory, ServerError, run_inside
from tests.bench.report import quick_ratios, tables
from tests.bench.results import Cell, Results
from tests.bench.servers import AGAINST, NEXT_HOP_PORT, NEXT_HOPS, PYTHON, SERVERS, Server, serving
from tests.bench.trees import HARAKA, RELEASE, TREES
from tests.debian_system import CHECKOUT, unavailable
from tests.isolation import run

HERE = Path(__file__).parent
RESULTS = CHECKOUT / "build/bench/results.json"
QUICK_RESULTS = CHECKOUT / "build/bench/quick.json"
QUICK_SERVERS = ("ours-1", "aiosmtpd")
QUICK_CASES = ("one-per-connection", "many-per-connection", "5mb")
FIRST_PORT = 2500
LONGEST_REASON = 300

Pair = tuple[Server, Case]


def main() -> int:
    """Measure as the command line says; the exit status of the process."""
    arguments = make_parser().parse_args()
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.inside:
        return uvloop.run(_inside(arguments))
    if reason := unavailable():
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    needed = {"postfix", *(tree for server, _ in chosen(arguments) for tree in server.trees)}
    trees = {name: TREES[name] for name in sorted(needed)}
    return run_inside("tests.bench", trees, sys.argv[1:])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Compare SMTP servers under the same load; tests/bench/README.md says how.",
        epilog=f"Servers: {', '.join(SERVERS)}.  Cases: {', '.join(CASES)}.",
    )
    parser.add_argument("--quick", action="store_true", help="us and bare aiosmtpd, three cases")
    parser.add_argument(
        "--only",
        metavar="WORD,...",
        type=_words,
        default=(),
        help="measure these servers and cases (again), and keep the other results",
    )
    parser.add_argument(
        "--resume", action="store_true", help="measure what is missing in the results, or failed"
    )
    parser.add_argument("--seconds", type=float, default=2.5, help="how long a run lasts")
    parser.add_argument("--runs", type=int, default=3, help="of how many the median is taken")
    parser.add_argument("--results", type=Path, metavar="FILE", help="where they are kept, as JSON")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="also write results.json and chart.svg to tests/bench",
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in words:
        if word not in SERVERS and word not in CASES:
            raise argparse.ArgumentTypeError(f"{word!r} is no server and no case")
    return words


def chosen(arguments: argparse.Namespace) -> Iterator[Pair]:
    """What to measure: for each case, the servers in turn."""
    servers = QUICK_SERVERS if arguments.quick else tuple(SERVERS)
    cases = QUICK_CASES if arguments.quick else tuple(CASES)
    for case in _wanted(cases, arguments.only):
        for server in _wanted(servers, arguments.only):
            if CASES[case].suits(SERVERS[server]) and server != AGAINST:
                yield SERVERS[server], CASES[case]


def _wanted(names: Sequence[str], words: Sequence[str]) -> Sequence[str]:
    return [name for name in names if name in words] or names


# --- inside ---------------------------------------------------------------------------------


async def _inside(arguments: argparse.Namespace) -> int:
    path = arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)
    keep = arguments.only or arguments.resume
    results = Results.load(path) if keep else Results({}, {})
    todo = [
        (server, case)
        for server, case in chosen(arguments)
        if not (arguments.resume and results.complete(server.name, case.name))
    ]
    results.machine.update(_machine())
    laboratory = Laboratory.from_json(arguments.inside)
    effort = Effort(arguments.seconds, arguments.runs)
    async with laboratory.open():
        for number, (server, case) in enumerate(todo):
            print(f"{number + 1}/{len(todo)} {case.name}: {server.title}", flush=True)
            cell = await _measure(laboratory, server, case, effort, FIRST_PORT + number)
            results.cells[server.name, case.name] = cell
            results.save(path)
    if arguments.publish:
        results.save(HERE / "results.json")
        (HERE / "chart.svg").write_text(draw(results))
    print("", *(f"{name}: {value}" for name, value in results.machine.items()), sep="\n")
    print(*tables(results), "", sep="\n")
    for name, ratio in quick_ratios(results):
        print(f"ratio to bare aiosmtpd: {name} {ratio}")
    return 0


async def _measure(
    laboratory: Laboratory, server: Server, case: Case, effort: Effort, port: int
) -> Cell:
    """One cell; what goes wrong is in it."""
    try:
        async with AsyncExitStack() as stack:
            if next_hop := NEXT_HOPS.get(case.setup):
                await stack.enter_async_context(
                    serving(laboratory, next_hop, case.setup, NEXT_HOP_PORT)
                )
            cost = await stack.enter_async_context(serving(laboratory, server, case.setup, port))
            return await case.measure(
                Subject(server, port, cost, laboratory.trees["postfix"]), effort
            )
    except Exception as error:
        # Whatever it is, it must not cost the results of the other servers.
        return Cell(failed=_reason(error))


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    expected = isinstance(error, RefusedError | ServerError)
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:LONGEST_REASON]


def _machine() -> Mapping[str, str]:
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": run((PYTHON, "--version"), timeout=10).split()[-1],
        "uvloop": version("uvloop"),
        "aiosmtpd": version("aiosmtpd"),
        "haraka": HARAKA.partition("@")[2],
        "perl and postfix": f"Debian {RELEASE}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


if __name__ == "__main__":
    sys.exit(main())
