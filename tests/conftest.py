# SPDX-License-Identifier: MIT
"""What concerns the tests of every directory."""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, cast

import hypothesis
import pytest

from tests.debian_system import unavailable

if TYPE_CHECKING:
    from pluggy import Result  # that of Debian 12 has it under another name

#: Seconds for a test that builds or boots Debian systems, with those it shares with other tests.
SYSTEM_LIMIT = 1800

# How long an example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile(
    "any load", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any load")

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # Later on it is captured.
    config.stash[_STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("real_systems"):
            item.add_marker(pytest.mark.timeout(SYSTEM_LIMIT))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None]:
    """End the process with a traceback where the time limit cannot end the test.

    The limit is an exception in the main thread, and uvloop waits on, or a thread does.
    """
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(1.5 * limit, file=item.config.stash[_STDERR], exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs real Debian systems where there can be none."""
    if item.get_closest_marker("real_systems") and (reason := unavailable()):
        pytest.skip(reason)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Result[pytest.TestReport], None]:
    """Under CI=true nothing may be skipped: what would be has failed."""
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI") == "true":
        _, _, reason = cast("tuple[str, int, str]", report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason} (under CI=true nothing may be skipped)"


@pytest.fixture(autouse=True)
def logging_is_left_as_it_was() -> Iterator[None]:
    """The daemon takes over logging for its process; the next test must not notice."""
    root, ours = logging.getLogger(), logging.getLogger("qpsmtpd")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
