# SPDX-License-Identifier: MIT
"""Prints the account of every event at the end of the run, whether it passed or not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import pytest

_LINES = pytest.StashKey[list[str]]()

#: Event loop and number of workers.
_WAYS = [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)]


@pytest.fixture(params=_WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def way(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The event loop of the daemon, and how many workers it has."""
    loop, workers = request.param
    return with_uvloop(loop), workers


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop of the daemon."""
    return with_uvloop(request.param)


def with_uvloop(loop: str) -> str:
    if loop == "uvloop" and not importlib.util.find_spec("uvloop") and "CI" not in os.environ:
        pytest.skip("needs uvloop (pip install uvloop, or apt install python3-uvloop)")
    return loop


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Call it with what is to be a line of the summary."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lambda line: lines.append(str(line))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("nothing is cut off")
        for line in lines:
            terminalreporter.write_line(line)
