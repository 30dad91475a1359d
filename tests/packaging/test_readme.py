# SPDX-License-Identifier: MIT
"""The recipes of README.Debian, tried out beside Exim and Postfix, on Debian 12 and 13."""

from __future__ import annotations

import functools

import pytest

from tests.debian_system import RELEASES, Outcome
from tests.packaging.guest.readme import CHECKS
from tests.packaging.guest.units import LISTEN
from tests.packaging.systems import BOOT_TIMEOUT, GUEST_PACKAGE, layer, with_package

pytestmark = pytest.mark.real_systems

_METHODS = {"exim4": "exim", "postfix": "postfix"}
_ANSWERS = f"""\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string {LISTEN[0]}
qpsmtpd qpsmtpd/queue_plugin select {{method}}
qpsmtpd qpsmtpd/rcpthosts string example.org
"""

CASES = [
    pytest.param(release, mail_system, function.__name__)
    for release in RELEASES
    for mail_system, functions in CHECKS.items()
    for function in functions
]


@functools.cache
def boot(release: str, mail_system: str) -> Outcome:
    """Install the package beside a mail system, boot, and try the recipes."""
    try:
        with with_package(layer(release, mail_system)) as system:
            system.install((GUEST_PACKAGE,), _ANSWERS.format(method=_METHODS[mail_system]))
            system.copy_checkout()
            script = ("/usr/bin/python3", "-m", "tests.packaging.guest.readme", mail_system)
            return system.boot(script, timeout=BOOT_TIMEOUT)
    except RuntimeError as error:
        return Outcome({}, str(error))


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_recipes(release: str, mail_system: str, check: str) -> None:
    """One recipe in one guest; tests/packaging/guest/readme.py says what it does."""
    failure = boot(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
