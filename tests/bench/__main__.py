# SPDX-License-Identifier: MIT
"""python -m tests.bench: measure, and print the tables.  README.md says how."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

import uvloop

from tests.bench.cases import CASES, Case, Effort, Flow, Subject
from tests.bench.chart import draw
from tests.bench.client import RefusedError
from tests.bench.comparison import ratio
from tests.bench.laboratory import Laboratory, ServerError, run_inside
from tests.bench.report import OURS, last_lines, tables
from tests.bench.results import Cell, Results
from tests.bench.servers import (
    AGAINST,
    FORMER_CHAIN,
    PYTHON,
    SERVERS,
    Server,
    serving,
    serving_all,
)
from tests.bench.trees import HARAKA, RELEASE, TREES, commit, short_name
from tests.debian_system import CHECKOUT, unavailable
from tests.isolation import run

HERE = Path(__file__).parent
RESULTS = CHECKOUT / "build/bench/results.json"
QUICK_RESULTS = CHECKOUT / "build/bench/quick.json"
#: Those that `--only` may name; the other commit is measured with ours.
MEASURED = tuple(name for name in SERVERS if name != AGAINST)
QUICK_SERVERS = (OURS, "aiosmtpd")
QUICK_CASES = (
    *("one-per-connection", "many-per-connection", "5mb"),
    *("strangers", "strangers-refused"),
)
FIRST_PORT = 2500
LONGEST_REASON = 300

#: A case, and a server; or two that are compared as well.
Task = tuple[Case, tuple[Server, ...]]


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
    servers = {server for _, servers in chosen(arguments) for server in servers}
    trees = TREES
    if arguments.against:
        try:
            trees = {**TREES, AGAINST: partial(commit, short_name(arguments.against))}
        except RuntimeError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    needed = {"postfix", *(tree for server in servers for tree in server.trees)}
    return run_inside("tests.bench", {name: trees[name] for name in sorted(needed)}, sys.argv[1:])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Compare SMTP servers under the same load; tests/bench/README.md says how.",
        epilog=f"Servers: {', '.join(MEASURED)}.  Cases: {', '.join(CASES)}.",
    )
    parser.add_argument("--quick", action="store_true", help="us and bare aiosmtpd, five cases")
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
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="also measure that commit of ours, and compare this tree with it",
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
        if word not in MEASURED and word not in CASES:
            raise argparse.ArgumentTypeError(f"{word!r} is no server and no case")
    return words


def chosen(arguments: argparse.Namespace) -> Iterator[Task]:
    """What to measure: for each case, one server after the other, or two of ours."""
    servers = QUICK_SERVERS if arguments.quick else MEASURED
    cases = QUICK_CASES if arguments.quick else tuple(CASES)
    for case in (CASES[name] for name in _wanted(cases, arguments.only)):
        for server in _wanted(servers, arguments.only):
            turns = (OURS, AGAINST) if server == OURS and arguments.against else (server,)
            has_chain = arguments.against or server != FORMER_CHAIN
            if has_chain and case.suits(SERVERS[server]):
                yield case, tuple(SERVERS[name] for name in turns)


def _wanted(names: Sequence[str], words: Sequence[str]) -> Sequence[str]:
    return [name for name in names if name in words] or names


# --- inside ---------------------------------------------------------------------------------


async def _inside(arguments: argparse.Namespace) -> int:
    path = arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)
    keep = arguments.only or arguments.resume
    results = Results.load(path) if keep else Results({}, {})
    todo = [
        (case, servers)
        for case, servers in chosen(arguments)
        if not arguments.resume
        or not all(results.complete(server.name, case.name) for server in servers)
    ]
    results.machine.update(_machine())
    if arguments.against:
        results.machine["before"] = short_name(arguments.against)
    laboratory = Laboratory.from_json(arguments.inside)
    effort = Effort(arguments.seconds, arguments.runs)
    ports = count(FIRST_PORT)
    async with laboratory.open():
        for number, (case, servers) in enumerate(todo):
            titles = " and ".join(server.title for server in servers)
            print(f"{number + 1}/{len(todo)} {case.name}: {titles}", flush=True)
            for server in servers:
                cell = await _measure(laboratory, server, case, effort, next(ports))
                results.cells[server.name, case.name] = cell
            if len(servers) == 2 and isinstance(case, Flow):
                key = servers[0].name, case.name
                found = await _compare(laboratory, servers, case, effort, ports)
                results.cells[key] = replace(results.cells[key], to_before=found)
            results.save(path)
    if arguments.publish:
        publish(results)
    print("", *(f"{name}: {value}" for name, value in results.machine.items()), sep="\n")
    print(*tables(results), "", sep="\n")
    print(*last_lines(results), sep="\n")
    return 0


def publish(results: Results) -> None:
    """Write these results over those of the repository; what was not measured stays."""
    path = HERE / "results.json"
    published = Results.load(path)
    published.machine.update(results.machine)
    published.cells.update(results.cells)
    published.save(path)
    (HERE / "chart.svg").write_text(draw(published))


async def _compare(
    laboratory: Laboratory,
    servers: Sequence[Server],
    case: Flow,
    effort: Effort,
    ports: Iterator[int],
) -> float | None:
    """How the first of two compares with the second; None if one of them cannot do it."""
    by_port = {next(ports): server for server in servers}
    postfix = laboratory.trees["postfix"]
    try:
        async with serving_all(laboratory, by_port, case.setup) as costs:
            subjects = zip(by_port.values(), by_port, costs, strict=True)
            one, other = (Subject(server, port, cost, postfix) for server, port, cost in subjects)
            return await ratio(case, one, other, effort)
    except Exception as error:
        # The cells tell as well what does not work; here it must not cost the other results.
        print(f"    not compared: {_reason(error)}", flush=True)
        return None


async def _measure(
    laboratory: Laboratory, server: Server, case: Case, effort: Effort, port: int
) -> Cell:
    """One cell; what goes wrong is in it."""
    try:
        async with serving(laboratory, server, case.setup, port) as cost:
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
