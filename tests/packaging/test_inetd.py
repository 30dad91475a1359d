# SPDX-License-Identifier: MIT
"""One process per connection, under tcpserver and openbsd-inetd, on Debian 12 and 13."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES
from tests.packaging import guests
from tests.packaging.guest.one_connection import check_names
from tests.packaging.guests import AIOSMTPD

pytestmark = pytest.mark.real_systems

CASES = [
    pytest.param(release, name, id=f"{release}-{name}")
    for release in RELEASES
    for name in check_names()
]


@pytest.mark.parametrize(("release", "check"), CASES)
def test_one_connection(release: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/one_connection.py says what it does."""
    failure = guests.boot(release, "postfix", f"one_connection {AIOSMTPD[release]}").failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
