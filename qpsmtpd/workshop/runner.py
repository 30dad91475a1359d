# SPDX-License-Identifier: MIT
"""Runs the test of a plugin where there is no pytest.

A test is a function test_..., a coroutine or not, without parameters.  What it asserts, or raises,
is reported with file and line.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd.errors import PluginError
from qpsmtpd.plugin.sources import import_file, place_of

#: Seconds that one test may take.
MOST_SECONDS = 60.0

_NEEDS_PYTEST = (
    "has parameters, which need pytest: apt install python3-pytest python3-pytest-asyncio"
)


class Result(NamedTuple):
    """What came of a test; fault: "FILE:LINE: what", "" if it passed."""

    name: str
    fault: str


def run_tests(file: Path) -> Iterator[Result]:
    """Run the tests of a file, which may import its neighbours by their names."""
    with _neighbours_of(file):
        try:
            module = import_file(file, file.stem)
        except PluginError as error:
            yield Result("import", str(error))
            return
        for name, function in list(vars(module).items()):
            if name.startswith("test_") and inspect.isfunction(function):
                yield Result(name, _fault(function, file))


@contextmanager
def _neighbours_of(file: Path) -> Iterator[None]:
    """The modules in the directory of the file can be imported, and are forgotten afterwards."""
    directory = str(file.parent.resolve())
    before = set(sys.modules)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)
        sys.dont_write_bytecode = writes
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(directory):
                del sys.modules[name]


def _fault(function: Callable[[], Any], file: Path) -> str:
    """What is wrong, if something is."""
    if inspect.signature(function).parameters:
        line = function.__code__.co_firstlineno
        return f"{file}:{line}: {_NEEDS_PYTEST}"
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(_within_time(function))
        else:
            function()
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        return f"{place_of(error, file)}: {what}{_origin(error, file)}"
    return ""


async def _within_time(function: Callable[[], Any]) -> None:
    async with asyncio.timeout(MOST_SECONDS):
        await function()


def _origin(error: BaseException, file: Path) -> str:
    """Where it was raised, if that was not in the test."""
    innermost = place_of(error)
    return "" if innermost.startswith(f"{file}:") else f" (raised at {innermost})"
