# SPDX-License-Identifier: MIT
"""Debian's piuparts: after a purge the system is as it was, file by file, on Debian 12 and 13.

Each release's own piuparts takes its minimal system, installs from the archive, runs adequate(1)
and logrotate over the result, and purges when not even Python is there any more.  Nothing is
ignored but what piuparts ignores by itself: files that every package may change, such as
/etc/passwd (the user stays) and debconf's database.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import pytest

from tests.debian_system import RELEASES, UNPACK_TIMEOUT, System, base_tar, layer_tar, unpacked
from tests.isolation import run
from tests.packaging.package import built
from tests.packaging.systems import MAIL_SYSTEM_ANSWERS

pytestmark = pytest.mark.real_systems

OLD_VERSIONS = {"bookworm": "0.94-5", "trixie": "0.94-8"}  # the archive's, in Perl
STRICT = ("--fail-if-inadequate", "--fail-on-broken-symlinks", "--pedantic-purge-test")
TOOLS = ("piuparts", "adequate")
TIMEOUT = 300.0  # seconds, one run; half a minute is usual

#: Links of Debian 13's systemd to what comes with packages that are not in a minimal system.
TARGETS_OF_LINKS = ("etc/default/keyboard", "etc/locale.conf")

MINIMAL_SYSTEM = "/srv/minimal"
SCRIPTS = "/srv/scripts"
ANSWERS = f"""\
{MAIL_SYSTEM_ANSWERS}
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/queue_plugin select postfix
qpsmtpd qpsmtpd/rcpthosts string example.org
"""
_MEMBER = "grep '^postdrop:.*qpsmtpd' /etc/group"


def piuparts(release: str, options: Sequence[str], scripts: dict[str, str]) -> str:
    """What piuparts says of the package.  Raises RuntimeError with all that when it complains.

    The scripts run within the system that is tested; their names begin with the stage.
    """
    with unpacked(layer_tar(release, TOOLS)) as system:
        shutil.copyfile("/etc/resolv.conf", system.root / "etc/resolv.conf")
        _unpack_minimal_system(system, release)
        for name, text in scripts.items():
            system.write(f"{SCRIPTS}/{name}", f"#!/bin/sh\nset -e\n{text}\n", 0o755)
        where = ("--distribution", release, "--existing-chroot", MINIMAL_SYSTEM)
        how = ("--keep-sources-list", "--no-eatmydata", "--log-level=info", *STRICT, *options)
        what = ("--scriptsdir", "/etc/piuparts/scripts", "--scriptsdir", SCRIPTS)
        return system.run(
            "piuparts", *where, *how, *what, *built().put_into(system), timeout=TIMEOUT
        )


def _unpack_minimal_system(system: System, release: str) -> None:
    target = system.root / MINIMAL_SYSTEM.lstrip("/")
    target.mkdir(parents=True)
    (system.root / SCRIPTS.lstrip("/")).mkdir()
    tar = ("tar", "-C", str(target), "--numeric-owner", "-xpf", str(base_tar(release)))
    run(tar, UNPACK_TIMEOUT)
    for path in TARGETS_OF_LINKS:
        (target / path).touch()


@pytest.mark.parametrize("release", RELEASES)
def test_install_remove_install_and_purge(release: str) -> None:
    """Without a mail system, and nobody says that it is to start."""
    # adequate misses the user of a unit that is started only where Postfix is.
    scripts = {"post_setup_postfix": "useradd --system postfix"}
    said = piuparts(release, ("--no-upgrade-test", "--install-remove-install"), scripts)
    assert "PASS: Installation and purging test." in said


@pytest.mark.parametrize("release", RELEASES)
def test_upgrade_from_the_perl_version_and_purge(release: str) -> None:
    """Beside Postfix, which stays, and with the units enabled."""
    scripts = {
        "post_setup_answers": f"debconf-set-selections <<'END'\n{ANSWERS}END",
        "pre_install_version": f'[ "$PIUPARTS_PHASE" = install ] || {_is_installed(release)}',
        "pre_remove_is_a_member": _MEMBER,
        "post_test_is_no_member": f"! {_MEMBER}",
    }
    options = ("--no-install-purge-test", "--fake-essential-packages", "postfix")
    said = piuparts(release, options, scripts)
    assert "PASS: Installation, upgrade and purging tests." in said


def _is_installed(release: str) -> str:
    return f"dpkg-query --show qpsmtpd | grep -F {OLD_VERSIONS[release]}"
