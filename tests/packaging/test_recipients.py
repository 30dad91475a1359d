# SPDX-License-Identifier: MIT
"""The installed package with its default answers refuses unknown recipients, so nothing bounces."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES, Outcome
from tests.packaging import systems
from tests.packaging.guest.recipients import LISTEN, NAMES

pytestmark = pytest.mark.real_systems

#: How mail is delivered is not answered: the package finds the mail system by itself.
_ANSWERS = f"""\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string {LISTEN[0]}
qpsmtpd qpsmtpd/rcpthosts string example.org
"""
CASES = [
    pytest.param(release, mail_system, name, id=f"{release}-{mail_system}-{name}")
    for release in RELEASES
    for mail_system in systems.MAIL_SYSTEM_PACKAGES
    for name in NAMES
]


def outcome(release: str, mail_system: str) -> Outcome:
    """What the guest reports, here and in test_sender_authentication.py."""
    script = f"recipients {mail_system}"
    return systems.boot(systems.layer(release, mail_system), script, _ANSWERS)


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_recipients(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/recipients.py says what it does."""
    failure = outcome(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
