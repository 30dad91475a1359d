# SPDX-License-Identifier: MIT
"""auth_pam and its helper with the PAM of Debian: users, expired ones, and rules of our own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from qpsmtpd.api import Verdict, accept
from qpsmtpd.logins import pam_helper
from qpsmtpd.plugins.auth.auth_pam import AuthPam
from tests.debian_system import RELEASES, layer_tar, unpacked
from tests.login_servers import PASSWORD
from tests.scanner_servers import RealScanner
from tests.unit.logins.fake import assert_temporary, log_in

pytestmark = pytest.mark.real_systems

#: As the service manager does it: a helper for each connection.
_LISTENER = """\
import os, socket, subprocess, sys
os.chmod("/run", 0o777)
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind("/run/scanner.sock")
    listening.listen()
    while True:
        with listening.accept()[0] as connection:
            helper = [sys.executable, "-IS", "/srv/pam_helper.py", "nobody", *sys.argv[1:]]
            subprocess.run(helper, stdin=connection.fileno())
"""
_SERVICES = {
    "smtp": "auth required pam_unix.so\naccount required pam_unix.so\n",
    "permit": "auth required pam_permit.so\naccount required pam_permit.so\n",
    "deny": "auth required pam_deny.so\naccount required pam_permit.so\n",
    "locked": "auth required pam_permit.so\naccount required pam_deny.so\n",
    "down": "auth required pam_debug.so auth=authinfo_unavail\naccount required pam_permit.so\n",
    "maxtries": "auth required pam_debug.so auth=maxtries\naccount required pam_permit.so\n",
    "missing": "auth required pam_no_such.so\naccount required pam_permit.so\n",
    "told": "auth required pam_exec.so expose_authtok /srv/told\naccount required pam_permit.so\n",
}
_TOLD = '#!/bin/sh\n{ echo "$PAM_SERVICE $PAM_USER $PAM_RHOST"; cat; } >/srv/said\n'
_USERS = (
    "for user in user expired old; do useradd $user; done",
    "chpasswd </srv/passwords",
    "usermod --expiredate 1 expired",
    "chage --lastday 0 old",
    "chmod 755 /srv/told",
)


@dataclass
class RealPam:
    """A system whose PAM can be asked."""

    process: RealScanner

    async def log_in(self, user: str, password: str, service: str = "smtp") -> Verdict | None:
        line = f"{service} place {self.process.place}"
        return await log_in(AuthPam, line, user, password)


@pytest.fixture(scope="module", params=RELEASES)
def pam(request: pytest.FixtureRequest) -> Iterator[RealPam]:
    with unpacked(layer_tar(request.param, ("python3", "passwd"))) as system:
        shutil.copy(pam_helper.__file__, system.root / "srv/pam_helper.py")
        system.write("/srv/listener.py", _LISTENER)
        system.write("/srv/told", _TOLD)
        for name, rules in _SERVICES.items():
            system.write(f"/etc/pam.d/{name}", rules)
        users = ("root", "user", "expired", "old")
        system.write("/srv/passwords", "".join(f"{user}:{PASSWORD}\n" for user in users))
        system.run("sh", "-ec", "; ".join(_USERS))
        services = [*_SERVICES, "no-such-file"]
        process = RealScanner(system, ["python3", "/srv/listener.py", *services])
        try:
            process.start()
            yield RealPam(process)
        finally:
            process.kill()


async def test_users_of_the_system(pam: RealPam) -> None:
    assert await pam.log_in("user", PASSWORD) == accept()
    for user, password in (
        ("user", "wrong"),
        ("user", PASSWORD + "x"),
        ("nobody", PASSWORD),
        ("no-such-user", PASSWORD),
        ("root", PASSWORD),
        ("expired", PASSWORD),
        ("old", PASSWORD),
    ):
        assert await pam.log_in(user, password) is None, (user, password)


async def test_without_rules_of_its_own_a_service_has_those_of_debian(pam: RealPam) -> None:
    assert await pam.log_in("user", PASSWORD, "no-such-file") == accept()
    assert await pam.log_in("user", "wrong", "no-such-file") is None


@pytest.mark.parametrize(
    ("service", "verdict"),
    [("permit", accept()), ("deny", None), ("locked", None), ("maxtries", None)],
)
async def test_rules(pam: RealPam, service: str, verdict: Verdict | None) -> None:
    assert await pam.log_in("whoever", "whatever", service) == verdict


@pytest.mark.parametrize("service", ["down", "missing"])
async def test_modules_that_cannot_tell(pam: RealPam, service: str) -> None:
    reason = assert_temporary(await pam.log_in("user", PASSWORD, service), PASSWORD)
    assert "PAM cannot tell now" in reason


async def test_a_service_that_may_not_be_asked_for(pam: RealPam) -> None:
    reason = assert_temporary(await pam.log_in("user", PASSWORD, "su"), PASSWORD)
    assert "not among the services" in reason


async def test_what_modules_are_told(pam: RealPam) -> None:
    assert await pam.log_in("user", PASSWORD, "told") == accept()
    said = (pam.process.system.root / "srv/said").read_bytes()
    assert said.rstrip(b"\0") == f"told user 192.0.2.1\n{PASSWORD}".encode()
