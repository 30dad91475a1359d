# SPDX-License-Identifier: MIT
"""The installed package on Debian 12 and 13: reloads, restarts, upgrades and its death."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.continuity.guest import LISTEN, check_names
from tests.debian_system import RELEASES, Outcome, unpacked
from tests.packaging import systems
from tests.packaging.package import built

pytestmark = pytest.mark.real_systems

_ANSWERS = f"""\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string {LISTEN[0]}
qpsmtpd qpsmtpd/queue_plugin select postfix
qpsmtpd qpsmtpd/rcpthosts string example.org
"""
_TIMEOUT = 300.0  # seconds
_ACCOUNTS = re.compile(r"^--- accounts\n((?:(?!---).*\n?)*)", re.MULTILINE)


def boot(release: str) -> Outcome:
    """Install the package, boot, and do all that tests/continuity/guest.py does."""
    try:
        with unpacked(systems.layer(release, "postfix")) as system:
            system.install(built().put_into(system), _ANSWERS)
            system.copy_checkout()
            script = ("/usr/bin/python3", "-m", "tests.continuity.guest")
            return system.boot(script, timeout=_TIMEOUT)
    except RuntimeError as error:
        return Outcome({}, str(error))


@pytest.mark.parametrize("release", RELEASES)
def test_service(release: str, report: Callable[[object], None]) -> None:
    """Every event of one guest."""
    outcome = boot(release)
    if accounts := _ACCOUNTS.search(outcome.log):
        for line in accounts[1].splitlines():
            if line:
                report(f"{release}, {line}")
    failures = [outcome.failure(name) for name in check_names()]
    if text := "\n".join(failure for failure in failures if failure):
        pytest.fail(text, pytrace=False)
