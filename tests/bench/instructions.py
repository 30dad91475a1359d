# SPDX-License-Identifier: MIT
"""What a message costs in instructions and cache misses, which hardly differ from run to run.

    python -m tests.bench.instructions [--against COMMIT] [--only CASE,...] [--by-part]

Our server runs under callgrind, with one worker, in the laboratory of the benchmark and under the
load of its cases.  README.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import uvloop

from tests.bench import callgrind, parts
from tests.bench.callgrind import Callgrind, Counts
from tests.bench.cases import CASES, Flow, Subject
from tests.bench.client import RefusedError
from tests.bench.laboratory import Command, Laboratory, ServerError, run_inside
from tests.bench.report import OURS
from tests.bench.results import Results
from tests.bench.servers import AGAINST, SERVERS, Server, Setup, serving
from tests.bench.trees import TREES, commit, short_name
from tests.debian_system import unavailable

PUBLISHED = Path(__file__).with_name("results.json")
#: How each case is called in the table.
COUNTED = {
    "many-per-connection": "kept connection",
    "one-per-connection": "one message per connection",
    "strangers": "stranger with a name",
    "strangers-refused": "stranger refused at RCPT",
    "listed": "stranger refused by a DNS list",
    "chain": "stranger with a name, default chain, two lists",
    "smtp-forward": "hand-over by SMTP",
    "postfix-queue": "hand-over to the queue of Postfix",
    "authentication-off": "signed message that nobody looks at",
    "authentication": "the same with SPF, DKIM and DMARC",
    "authentication-5": "five signatures, SPF, DKIM and DMARC",
}
WARM_UP, WINDOW = 100, 200  # messages
FIRST_PORT = 2500

#: Of a message, by server and case.
Figures = dict[tuple[str, str], Counts]


def main() -> int:
    """Count as the command line says; the exit status of the process."""
    arguments = make_parser().parse_args()
    if arguments.inside:
        return uvloop.run(_inside(arguments))
    try:
        without_valgrind = "" if arguments.by_part else callgrind.unavailable()
        if reason := without_valgrind or unavailable():
            raise RuntimeError(reason)
        trees = {"postfix": TREES["postfix"]}
        if arguments.against:
            trees[AGAINST] = partial(commit, short_name(arguments.against))
        return run_inside("tests.bench.instructions", trees, sys.argv[1:])
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.instructions",
        description="Count instructions and cache misses of a message; needs root and valgrind.",
        epilog=f"Cases: {', '.join(COUNTED)}.",
    )
    parser.add_argument("--against", metavar="COMMIT", help="count that commit of ours as well")
    parser.add_argument("--only", metavar="CASE,...", type=_cases, default=tuple(COUNTED))
    parser.add_argument(
        "--by-part",
        action="store_true",
        help="count bytecodes by file and function instead; needs no valgrind",
    )
    parser.add_argument(
        "--publish", action="store_true", help="also keep the figures in tests/bench/results.json"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


def _cases(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in words:
        if word not in COUNTED:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(COUNTED)}")
    return words


# --- inside ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Counted(Server):
    """A server whose instructions are counted."""

    server: Server
    counter: Callgrind

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        command = self.server.prepare(laboratory, home, setup, port)
        return replace(
            command,
            words=self.counter.around(command.words),
            environment={**command.environment, **callgrind.ENVIRONMENT},
            patience=callgrind.PATIENCE,
        )


async def _inside(arguments: argparse.Namespace) -> int:
    laboratory = Laboratory.from_json(arguments.inside)
    try:
        async with laboratory.open():
            await (_show_parts if arguments.by_part else _count_all)(laboratory, arguments)
    except (ServerError, RefusedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


async def _count_all(laboratory: Laboratory, arguments: argparse.Namespace) -> None:
    names = _names(arguments)
    found: Figures = {}
    print(HEAD, flush=True)
    for case in arguments.only:
        for server in names:
            port = FIRST_PORT + len(found)
            found[server, case] = await count(laboratory, SERVERS[server], case, port)
        print(*rows(case, names, found), sep="\n", flush=True)
    if arguments.publish:
        figures = {(names[server] or server, case): c for (server, case), c in found.items()}
        results = Results.load(PUBLISHED)
        kept = {} if set(arguments.only) == set(COUNTED) else results.instructions
        replace(results, instructions={**kept, **figures}).save(PUBLISHED)


async def count(laboratory: Laboratory, server: Server, case: str, port: int) -> Counts:
    """What a message costs this server in this case.  Raises ServerError and RefusedError."""
    flow = a_flow(case)
    counter = Callgrind(Path(tempfile.mkdtemp(prefix="callgrind-", dir=laboratory.work)))
    counted = Counted(name=server.name, title=server.title, server=server, counter=counter)
    async with serving(laboratory, counted, flow.setup, port) as cost:
        subject = Subject(server, port, cost, laboratory.trees["postfix"])
        await counter.start()
        await flow.send(subject, WARM_UP, 0)
        await counter.zero()
        await flow.send(subject, WINDOW, WARM_UP)
        return (await counter.counts()).per(WINDOW)


async def _show_parts(laboratory: Laboratory, arguments: argparse.Namespace) -> None:
    ports = itertools.count(FIRST_PORT)
    for case in arguments.only:
        for server, name in _names(arguments).items():
            counted = await parts.bytecodes(
                laboratory, SERVERS[server], a_flow(case), next(ports), WARM_UP, WINDOW
            )
            print(f"{COUNTED[case]}: bytecodes for a message {name}".rstrip(), "", sep="\n")
            for sums in (parts.by_file(counted), parts.by_function(counted)):
                print(*parts.rows(sums, WINDOW), "", sep="\n", flush=True)


def _names(arguments: argparse.Namespace) -> dict[str, str]:
    """The servers, each with the commit that it is of; this tree's has none."""
    other = {AGAINST: short_name(arguments.against)} if arguments.against else {}
    return {OURS: "", **other}


def a_flow(case: str) -> Flow:
    """The case of this name, which must be one of COUNTED."""
    flow = CASES[case]
    assert isinstance(flow, Flow)
    return flow


# --- the table ------------------------------------------------------------------------------

HEAD = f"{'':50} {'instructions':>12} {'I1 misses':>9} {'D1 misses':>9} {'est. us':>8} {'ratio':>6}"


def rows(case: str, names: Mapping[str, str], found: Figures) -> Iterator[str]:
    """The rows of a case: one for each server, with the ratio of its time to that of ours."""
    ours = found[OURS, case]
    for server, name in names.items():
        counts = found[server, case]
        title = f"    {name}" if name else COUNTED[case]
        ratio = "" if server == OURS else f"{counts.microseconds / ours.microseconds:6.2f}"
        figures = (counts.instructions, counts.i1_misses, counts.d1_misses)
        whole, i1, d1 = (f"{figure:.0f}" for figure in figures)
        yield f"{title:50} {whole:>12} {i1:>9} {d1:>9} {counts.microseconds:>8.0f} {ratio}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
