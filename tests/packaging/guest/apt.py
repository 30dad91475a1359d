# SPDX-License-Identifier: MIT
"""Installing, configuring and removing the package in the guest, with nobody at the screen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.packaging.guest.report import expect, run

VERSION = "2.0.0-1"
#: The daemon, and its modules.
PACKAGES = tuple(f"/var/tmp/{name}_{VERSION}_all.deb" for name in ("qpsmtpd", "python3-qpsmtpd"))
#: A package of somebody else with a plugin; tests/packaging/sample.py builds it.
SAMPLE = "/var/tmp/qpsmtpd-quiet-hours.deb"
QUEUE_METHOD = Path("/etc/qpsmtpd/debian-queue-method")
RCPTHOSTS = Path("/etc/qpsmtpd/debian-rcpthosts")
FILTERS = Path("/etc/qpsmtpd/debian-protection")
CHAINS = "/usr/share/qpsmtpd/chains"
SETTINGS = Path("/etc/qpsmtpd/debconf-settings")

_TIMEOUT = 100.0  # seconds of one run of apt-get
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def apt_get(*arguments: str) -> str:
    """Run apt-get; its output.

    Raises RuntimeError when it fails or takes too long, as it does when something that it started
    holds its output open (debconf would wait for that as well).
    """
    return _quietly("apt-get", "--yes", "--no-install-recommends", *arguments)


def install(*options: str) -> str:
    """Install the built package; apt-get's output."""
    output = apt_get("install", *options, *PACKAGES)
    status = run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "qpsmtpd")
    expect(status == f"installed {VERSION}", f"the package is {status}: {output}")
    return output


def preseed(answers: Mapping[str, str]) -> None:
    """Give answers before the installation, as an installer of whole systems does."""
    lines = "".join(f"qpsmtpd qpsmtpd/{name} {value}\n" for name, value in answers.items())
    _quietly("debconf-set-selections", stdin=lines)


def reconfigure(answers: Mapping[str, str]) -> str:
    """Answer some questions anew, as somebody at the screen would; dpkg-reconfigure's output."""
    commands = "".join(
        f"SET qpsmtpd/{name} {value}\nFSET qpsmtpd/{name} pending true\n"
        for name, value in answers.items()
    )
    _quietly("debconf-communicate", "qpsmtpd", stdin=commands)
    return dpkg_reconfigure()


def dpkg_reconfigure() -> str:
    return _quietly("dpkg-reconfigure", "-fnoninteractive", "qpsmtpd")


def meaning(path: Path) -> list[str]:
    """The lines of a configuration file without comments."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def members(group: str) -> list[str]:
    """Who is in a group; nobody when there is none."""
    for line in Path("/etc/group").read_text().splitlines():
        name, *_, names = line.split(":")
        if name == group:
            return names.split(",")
    return []


def listed_answers() -> str:
    """What debconf holds of the package."""
    return subprocess.run(
        ("debconf-show", "qpsmtpd"), stdout=subprocess.PIPE, text=True, check=False
    ).stdout


def _quietly(*command: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            env={**os.environ, **_ENVIRONMENT},
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stdout or b"").decode(errors="replace")
        raise RuntimeError(f"{' '.join(command)} does not end: {said}") from None
    print(done.stdout, flush=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout
