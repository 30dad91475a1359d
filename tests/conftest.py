# SPDX-License-Identifier: MIT
"""What concerns the tests of every directory."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import hypothesis
import pytest

from qpsmtpd.config import units
from tests.debian_system import unavailable
from tests.ports import refusing_port

if TYPE_CHECKING:
    from pluggy import Result  # that of Debian 12 has it under another name

#: Seconds for a test that builds or boots Debian systems, with those it shares with other tests.
SYSTEM_LIMIT = 1800

# How long an example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile(
    "any load", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any load")
# For `make check`; a run without --hypothesis-profile=check tries a hundred.
hypothesis.settings.register_profile(
    "check", hypothesis.settings.get_profile("any load"), max_examples=20
)

#: Its own package builds and tests it.
collect_ignore = ["packaging/sample_plugin"]

#: Seconds by which the end of a process may be late: setting it costs a thread each time.
_SLACK = 30


@contextmanager
def logging_left_as_it_was() -> Iterator[None]:
    """The daemon takes over logging for its process; the next test must not notice."""
    root, ours = logging.getLogger(), logging.getLogger("qpsmtpd")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


class Watchdog:
    """Ends the process at some time, with a traceback of every thread."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)  # later on it is captured
        self._end = 0.0

    def leave_until(self, end: float) -> None:
        """Leave the process alone until then, by the monotonic clock, and not much longer."""
        if not end <= self._end <= end + _SLACK:
            self._end = end + _SLACK
            seconds = self._end - time.monotonic()
            faulthandler.dump_traceback_later(seconds, file=self._stderr, exit=True)

    def close(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        os.close(self._stderr)


_WATCHDOG = pytest.StashKey[Watchdog]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_WATCHDOG] = Watchdog()
    # A shell has what it runs in the background ignore it, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_WATCHDOG].close()


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Generator[None]:
    """Thousands of tests stay until the end: the garbage collector need not look at them again."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


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
    watchdog = item.config.stash[_WATCHDOG]
    watchdog.leave_until(time.monotonic() + 1.5 * limit)
    with logging_left_as_it_was():
        yield


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


@pytest.fixture(autouse=True, scope="session")
def no_scanners() -> Iterator[None]:
    """The shipped chains ask those that the machine starts at boot; ours may start some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "DIRECTORIES", ())
        yield


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A place where nobody listens, as HOST:PORT."""
    with refusing_port() as port:
        yield f"127.0.0.1:{port}"
