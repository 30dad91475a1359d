# SPDX-License-Identifier: MIT
"""Prints the account of every event at the end of the run, whether it passed or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.client import uvloop_factory

#: Event loop and number of workers.
_WAYS = [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)]


@pytest.fixture(params=_WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def way(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The event loop of the daemon, and how many workers it has."""
    loop, workers = request.param
    return available(loop), workers


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop of the daemon."""
    return available(request.param)


def available(loop: str) -> str:
    if loop == "uvloop":
        uvloop_factory()
    return loop


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Call it with what is to be a line of the summary."""
    # The properties of a test come from the process that runs it to the one that reports.
    return lambda line: request.node.user_properties.append(("account", str(line)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = [report for reports in terminalreporter.stats.values() for report in reports]
    tests = [report for report in ended if getattr(report, "when", None) == "call"]
    lines = [text for test in tests for name, text in test.user_properties if name == "account"]
    if lines:
        terminalreporter.section("nothing is cut off")
        for line in lines:
            terminalreporter.write_line(line)
