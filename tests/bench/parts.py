# SPDX-License-Identifier: MIT
"""What the parts of a server cost in a case, in bytecodes that it executes for a message.

Callgrind sees C functions and no Python ones; bytecodes are exact, and the same in each run.  What
C functions do for a bytecode (a regular expression, a system call) is not in these figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.callgrind import ENVIRONMENT
from tests.bench.cases import Flow, Subject
from tests.bench.cost import Cost
from tests.bench.laboratory import Command, Laboratory, ServerError
from tests.bench.servers import Server, Setup, serving

TRACER = Path(__file__).with_name("tracer.py")
PATIENCE = 60.0  # seconds until a snapshot has been written
LEAST_SHARE = 0.01  # of all bytecodes, for a row of its own

_ROOT = re.compile(r".*/qpsmtpd/|.*/lib/(?=python3)")

#: Bytecodes by file and function.
Bytecodes = Counter[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Traced(Server):
    """A server of ours whose bytecodes are counted, into files of this directory."""

    server: Server
    directory: Path

    def prepare(self, laboratory: Laboratory, home: Path, setup: Setup, port: int) -> Command:
        command = self.server.prepare(laboratory, home, setup, port)
        python = command.words[0]
        arguments = command.words[command.words.index("qpsmtpd") + 1 :]
        words = (python, str(TRACER), str(self.directory), *arguments)
        return replace(command, words=words, environment={**command.environment, **ENVIRONMENT})


async def bytecodes(
    laboratory: Laboratory, server: Server, flow: Flow, port: int, warm_up: int, window: int
) -> Bytecodes:
    """What a window of messages costs.  Raises ServerError and RefusedError."""
    directory = Path(tempfile.mkdtemp(prefix="bytecodes-", dir=laboratory.work))
    traced = Traced(name=server.name, title=server.title, server=server, directory=directory)
    async with serving(laboratory, traced, flow.setup, port) as cost:
        subject = Subject(server, port, cost, laboratory.trees["postfix"])
        await _snapshot(cost, directory / "0.json")
        await flow.send(subject, warm_up, 0)
        before = await _snapshot(cost, directory / "1.json")
        await flow.send(subject, window, warm_up)
        return await _snapshot(cost, directory / "2.json") - before


async def _snapshot(cost: Cost, path: Path) -> Bytecodes:
    (pid,) = cost.processes()
    os.kill(pid, signal.SIGUSR2)
    try:
        async with asyncio.timeout(PATIENCE):
            while not path.exists():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise ServerError("counts no bytecodes") from None
    return Counter({(file, function): n for file, function, n in json.loads(path.read_text())})


# --- the tables -----------------------------------------------------------------------------


def by_file(counted: Bytecodes) -> Counter[str]:
    """The sums of files."""
    return _sums(counted, lambda file, _: file)


def by_function(counted: Bytecodes) -> Counter[str]:
    """The sums of functions."""
    return _sums(counted, lambda file, function: f"{file}:{function}")


def _sums(counted: Bytecodes, name: Callable[[str, str], str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (file, function), number in counted.items():
        sums[name(short(file), function)] += number
    return sums


def short(file: str) -> str:
    """A file's name from its package on; with Python's own, that begins with `python3.11/`."""
    found = _ROOT.match(file)
    return file[found.end() :] if found else file


def rows(sums: Mapping[str, int], messages: int) -> Iterator[str]:
    """The rows of a table, most expensive first, with what is small in one row at the end."""
    total = sum(sums.values())
    large = {name: n for name, n in sums.items() if n >= total * LEAST_SHARE}
    small = total - sum(large.values())
    for name, number in sorted(large.items(), key=lambda row: -row[1]):
        yield _row(name, number, total, messages)
    if small:
        yield _row("others", small, total, messages)
    yield _row("all", total, total, messages)


def _row(name: str, number: int, total: int, messages: int) -> str:
    return f"  {name:60} {number / messages:8.0f} {number / total:6.1%}"
