# SPDX-License-Identifier: MIT
"""Mail taken by qpsmtpd reaches the user, through Postfix and Exim, on Debian 12 and 13."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES
from tests.packaging import guests
from tests.packaging.guest.hand_over import check_names
from tests.packaging.guest.next_hop import MAIL_SYSTEMS
from tests.packaging.guests import AIOSMTPD

pytestmark = pytest.mark.real_systems

CASES = [
    pytest.param(release, mail_system, name, id=f"{release}-{mail_system}-{name}")
    for release in RELEASES
    for mail_system in MAIL_SYSTEMS
    for name in check_names(mail_system)
]


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_hand_over(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/hand_over.py says what it does."""
    script = f"hand_over {mail_system} {AIOSMTPD[release]}"
    failure = guests.boot(release, mail_system, script).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
