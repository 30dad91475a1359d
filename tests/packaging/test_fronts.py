# SPDX-License-Identifier: MIT
"""The same messages come to the same by SMTP, and behind Postfix as milter and policy service."""

from __future__ import annotations

import pytest

from tests.packaging import guests

pytestmark = pytest.mark.real_systems

TIMEOUT = 600.0  # seconds


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
@pytest.mark.parametrize("check", ["obedient", "authentication", "ends"])
def test_fronts(release: str, check: str) -> None:
    """One check of the guest; tests/packaging/guest/fronts.py says what it does."""
    failure = guests.boot(release, "postfix", "fronts", TIMEOUT).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
