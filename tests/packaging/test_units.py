# SPDX-License-Identifier: MIT
"""The units of the installed package, beside Exim and Postfix, on Debian 12 and 13."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES
from tests.packaging import systems
from tests.packaging.guest.units import LISTEN, NAMES

pytestmark = pytest.mark.real_systems

_METHODS = {"exim4": "exim", "postfix": "postfix"}
_ANSWERS = f"""\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string {LISTEN[0]}
qpsmtpd qpsmtpd/queue_plugin select {{method}}
qpsmtpd qpsmtpd/rcpthosts string example.org
"""

CASES = [
    pytest.param(release, mail_system, name, id=f"{release}-{mail_system}-{name}")
    for release in RELEASES
    for mail_system in systems.MAIL_SYSTEM_PACKAGES
    for name in NAMES
]


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_units(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/units.py says what it does."""
    answers = _ANSWERS.format(method=_METHODS[mail_system])
    tar = systems.layer(release, mail_system)
    failure = systems.boot(tar, f"units {mail_system}", answers).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
