# SPDX-License-Identifier: MIT
"""Milters of Debian do the same behind Postfix and behind us."""

from __future__ import annotations

import pytest

from tests.packaging import guests

pytestmark = pytest.mark.real_systems

TIMEOUT = 600.0  # seconds


@pytest.mark.parametrize(
    "check", ["reuse", "verdicts", "actions", "outages", "authentication", "rspamd"]
)
def test_milters(check: str) -> None:
    """One check of the guest; tests/packaging/guest/milters.py says what it does."""
    failure = guests.boot("bookworm", "milters", "milters", TIMEOUT).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
