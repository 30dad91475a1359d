# SPDX-License-Identifier: MIT
"""qpsmtpd in the guest: its user, its configuration, and the check of what it runs on."""

from __future__ import annotations

from pathlib import Path

from tests.packaging.guest.client import DOMAIN, ME
from tests.packaging.guest.report import RESULTS, expect, run

CONFIG = Path("/etc/qpsmtpd")
DIST_PACKAGES = "/usr/lib/python3/dist-packages/"


def make_user() -> None:
    """The system user of the Debian package, with its spool directory."""
    run("useradd", "--system", "--user-group", "--home-dir", "/var/spool/qpsmtpd", "qpsmtpd")
    run("install", "-d", "-o", "qpsmtpd", "-g", "qpsmtpd", "-m", "2700", "/var/spool/qpsmtpd")


def configure(*plugins: str) -> None:
    """Write a minimal configuration that takes mail for DOMAIN and hands it over so."""
    CONFIG.mkdir(exist_ok=True)
    (CONFIG / "plugins").write_text("".join(f"{line}\n" for line in ("rcpt_ok", *plugins)))
    (CONFIG / "rcpthosts").write_text(f"{DOMAIN}\n")
    (CONFIG / "loglevel").write_text("LOGINFO\n")
    (CONFIG / "me").write_text(f"{ME}\n")


def runs_on_debians_aiosmtpd(upstream: str) -> None:
    """The library is Debian's package of this upstream version, not one from elsewhere."""
    version = run("dpkg-query", "--show", "--showformat=${Version}", "python3-aiosmtpd")
    (RESULTS / "aiosmtpd-version").write_text(f"{version}\n")
    expect(version.startswith(f"{upstream}-"), f"python3-aiosmtpd is {version}, not {upstream}")
    path = run("/usr/bin/python3", "-c", "import aiosmtpd; print(aiosmtpd.__file__)")
    expect(path.startswith(DIST_PACKAGES), f"aiosmtpd was imported from {path}")
