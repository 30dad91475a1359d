# SPDX-License-Identifier: MIT
"""Debian systems where the package gets installed: a mail system, and nothing of qpsmtpd's yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian_system import Outcome, System, layer_tar, unpacked
from tests.packaging.package import NAMES, built

GUEST_PACKAGES = tuple(f"/var/tmp/{name}" for name in NAMES)

#: What the package depends on, as a booted system has no network to get it from; swaks and
#: what follows it are for the tests.
DEPENDENCIES = (
    *("adduser", "python3-aiosmtpd", "python3-cryptography", "python3-debian"),
    *("python3-dnspython", "python3-jinja2", "python3-uvloop", "ucf"),
    *("python3-aiohttp", "python3-svgwrite"),
    *("swaks", "logrotate", "dpkg-repack", "apparmor", "strace"),
)
MAIL_SYSTEM_PACKAGES = {"postfix": ("postfix",), "exim4": ("exim4-daemon-light",)}
#: The Perl version; relay, a plugin of its default configuration, lacks libnet-ip-perl.
_OLD_PACKAGES = ("qpsmtpd", "libnet-ip-perl")
MAIL_SYSTEM_ANSWERS = """\
postfix postfix/main_mailer_type select Local only
postfix postfix/mailname string example.org
exim4-config exim4/dc_eximconfig_configtype select local delivery only; not on a network
exim4-config exim4/dc_other_hostnames string example.org
exim4-config exim4/dc_local_interfaces string 127.0.0.1
exim4-config exim4/mailname string example.org
"""
_OLD_ANSWERS = f"{MAIL_SYSTEM_ANSWERS}qpsmtpd qpsmtpd/startup_enabled boolean false\n"


def layer(release: str, mail_system: str) -> Path:
    """A system with a mail system and what the package depends on."""
    return layer_tar(
        release, (*MAIL_SYSTEM_PACKAGES[mail_system], *DEPENDENCIES), MAIL_SYSTEM_ANSWERS
    )


def bare_layer(release: str) -> Path:
    """A system with what the package depends on, and no mail system."""
    return layer_tar(release, DEPENDENCIES)


def old_layer(release: str, mail_system: str) -> Path:
    """The same with Debian's own qpsmtpd, the Perl version, installed and not enabled."""
    packages = (*MAIL_SYSTEM_PACKAGES[mail_system], *_OLD_PACKAGES, *DEPENDENCIES)
    return layer_tar(release, packages, _OLD_ANSWERS)


@contextmanager
def with_package(tar: Path) -> Iterator[System]:
    """A system with the built packages in GUEST_PACKAGES, not installed."""
    with unpacked(tar) as system:
        built().put_into(system)
        yield system


@functools.cache
def boot(
    tar: Path,
    script: str,
    answers: str | None = None,
    prepare: Callable[[System], None] | None = None,
) -> Outcome:
    """Boot a system and run a module of tests/packaging/guest, given with its arguments.

    answers: for debconf, if the package is to be installed before that.
    prepare: what else is to be done to the system.
    Each system is booted once; one that cannot be booted has reported no checks.
    """
    try:
        with with_package(tar) as system:
            if answers is not None:
                system.install(GUEST_PACKAGES, answers)
            if prepare:
                prepare(system)
            system.copy_checkout()
            command = ("/usr/bin/python3", "-m", f"tests.packaging.guest.{script}")
            return system.boot(command, timeout=BOOT_TIMEOUT)
    except RuntimeError as error:
        return Outcome({}, str(error))


BOOT_TIMEOUT = 1200.0  # seconds, with two dozen runs of apt-get; a third of it is usual
