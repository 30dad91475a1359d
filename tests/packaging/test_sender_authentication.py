# SPDX-License-Identifier: MIT
"""The installed package with its default answers finds out who sent a mail, and says so."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES
from tests.packaging import systems
from tests.packaging.guest.sender_authentication import NAMES
from tests.packaging.test_recipients import outcome

pytestmark = pytest.mark.real_systems

CASES = [
    pytest.param(release, mail_system, name, id=f"{release}-{mail_system}-{name}")
    for release in RELEASES
    for mail_system in systems.MAIL_SYSTEM_PACKAGES
    for name in NAMES
]


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_sender_authentication(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/sender_authentication.py says what it does."""
    failure = outcome(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
