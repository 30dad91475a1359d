# SPDX-License-Identifier: MIT
"""The installed package with its default answers refuses unknown recipients, so nothing bounces."""

from __future__ import annotations

import functools

import pytest

from tests.debian_system import RELEASES, Outcome, unpacked
from tests.packaging import systems
from tests.packaging.guest.recipients import LISTEN, NAMES
from tests.packaging.package import built

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


@functools.cache
def boot(release: str, mail_system: str) -> Outcome:
    """Install the package beside a mail system, boot, and run the guest's checks."""
    try:
        with unpacked(systems.layer(release, mail_system)) as system:
            system.install((built().put_into(system),), _ANSWERS)
            system.copy_checkout()
            script = ("/usr/bin/python3", "-m", "tests.packaging.guest.recipients", mail_system)
            return system.boot(script, timeout=systems.BOOT_TIMEOUT)
    except RuntimeError as error:
        return Outcome({}, str(error))


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_recipients(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/recipients.py says what it does."""
    failure = boot(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
