# SPDX-License-Identifier: MIT
"""What concerns the tests of every directory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.debian_system import unavailable


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs real Debian systems where there can be none; under CI=true, fail."""
    if item.get_closest_marker("real_systems") is None:
        return
    reason = unavailable()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def logging_is_left_as_it_was() -> Iterator[None]:
    """The daemon takes over logging for its process; the next test must not notice."""
    root, ours = logging.getLogger(), logging.getLogger("qpsmtpd")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
