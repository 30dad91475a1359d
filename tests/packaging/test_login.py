# SPDX-License-Identifier: MIT
"""queue/smtp-forward logs in to the real Postfix, by every mechanism, with and without STARTTLS."""

from __future__ import annotations

import pytest

from tests.packaging import guests
from tests.packaging.guest.login import check_names

pytestmark = pytest.mark.real_systems

#: Debian 13 has a Dovecot that is configured in another way.
RELEASE = "bookworm"


@pytest.mark.parametrize("check", check_names())
def test_login(check: str) -> None:
    """One check of the guest; tests/packaging/guest/login.py says what it does."""
    failure = guests.boot(RELEASE, "postfix-login", "login").failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
