# SPDX-License-Identifier: MIT
"""The units of the installed package, beside Exim and Postfix, on Debian 12 and 13."""

from __future__ import annotations

import functools

import pytest

from tests.debian_system import RELEASES, Outcome, unpacked
from tests.packaging import systems
from tests.packaging.guest.units import LISTEN, NAMES
from tests.packaging.package import built

pytestmark = pytest.mark.real_systems

_METHODS = {"exim4": "exim", "postfix": "postfix"}
_ANSWERS = """\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string {address}
qpsmtpd qpsmtpd/queue_plugin select {method}
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
    answers = _ANSWERS.format(address=LISTEN[0], method=_METHODS[mail_system])
    try:
        with unpacked(systems.layer(release, mail_system)) as system:
            system.install((built().put_into(system),), answers)
            system.copy_checkout()
            script = ("/usr/bin/python3", "-m", "tests.packaging.guest.units", mail_system)
            return system.boot(script, timeout=systems.BOOT_TIMEOUT)
    except RuntimeError as error:
        return Outcome({}, str(error))


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_units(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/units.py says what it does."""
    failure = boot(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
