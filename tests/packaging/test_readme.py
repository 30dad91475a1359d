# SPDX-License-Identifier: MIT
"""The recipes of README.Debian, tried out beside Exim and Postfix, on Debian 12 and 13."""

from __future__ import annotations

import pytest

from tests.debian_system import RELEASES, System
from tests.packaging import systems
from tests.packaging.guest.readme import CHECKS
from tests.packaging.guest.units import LISTEN

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


def with_servers(system: System) -> None:
    """What sections 9 and 13 are about; both web servers want the same port."""
    system.install(("ucspi-tcp", "openbsd-inetd", "nginx-light", "apache2"))
    system.run("systemctl", "disable", "nginx.service", "apache2.service")


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_recipes(release: str, mail_system: str, check: str) -> None:
    """One recipe in one guest; tests/packaging/guest/readme.py says what it does."""
    answers = _ANSWERS.format(method=_METHODS[mail_system])
    tar = systems.layer(release, mail_system)
    failure = systems.boot(tar, f"readme {mail_system}", answers, with_servers).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
