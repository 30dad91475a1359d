# SPDX-License-Identifier: MIT
"""The kinds of Debian systems that the packaging tests boot."""

from __future__ import annotations

import functools

from tests.debian_system import BOOT_TIMEOUT, Outcome, layer_tar, unpacked

AIOSMTPD = {"bookworm": "1.4.3", "trixie": "1.4.6"}  # upstream version in each release

_DAEMON = (
    *("python3", "python3-aiosmtpd", "python3-cryptography", "python3-dnspython"),
    *("python3-uvloop", "swaks"),
)
_PACKAGES = {
    "postfix": ("postfix", "openbsd-inetd", "ucspi-tcp", *_DAEMON),
    "postfix-login": ("postfix", "dovecot-core", "openssl", *_DAEMON),
    "exim4": ("exim4-daemon-light", *_DAEMON),
    "milters": ("postfix", "opendkim", "opendmarc", "python3-milter", "rspamd", *_DAEMON),
}
_ANSWERS = """\
postfix postfix/main_mailer_type select Local only
postfix postfix/mailname string example.org
exim4-config exim4/dc_eximconfig_configtype select local delivery only; not on a network
exim4-config exim4/dc_other_hostnames string example.org
exim4-config exim4/dc_local_interfaces string 127.0.0.1
exim4-config exim4/mailname string example.org
"""


@functools.cache
def boot(release: str, kind: str, script: str, timeout: float = BOOT_TIMEOUT) -> Outcome:
    """Boot a system of this kind with our checkout in it, and run one of the guest scripts.

    `script` is the name of a module in tests/packaging/guest, with its arguments.  Each system
    is booted once; one that cannot be booted has reported no checks.
    """
    try:
        with unpacked(layer_tar(release, _PACKAGES[kind], _ANSWERS)) as system:
            system.copy_checkout()
            command = ("/usr/bin/python3", "-m", f"tests.packaging.guest.{script}")
            return system.boot(command, timeout)
    except RuntimeError as error:
        return Outcome({}, str(error))
