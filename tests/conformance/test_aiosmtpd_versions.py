# SPDX-License-Identifier: MIT
"""The daemon works on every aiosmtpd it is to run on: that of Debian 12, 13, and the newest.

The newest is the one of the virtual environment, with which everything runs anyway.  Debian's
own builds run in the booted systems of tests/packaging.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

#: Upstream versions of Debian 12 and 13.
VERSIONS = ("1.4.3", "1.4.6")


def installed(version: str) -> Path:
    """A directory with this aiosmtpd in it, to stand in front of the installed one."""
    directory = CHECKOUT / ".cache" / f"aiosmtpd-{version}"
    if not (directory / "aiosmtpd").is_dir():
        command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        target = ["--target", str(directory), f"aiosmtpd=={version}"]
        subprocess.run([sys.executable, *command, *target], check=True, timeout=120)
    return directory


def run(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this aiosmtpd."""
    path = os.pathsep.join((str(installed(version)), str(CHECKOUT)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_is_used(version: str) -> None:
    result = run(version, "-c", "import aiosmtpd; print(aiosmtpd.__version__)")
    assert result.stdout.strip() == version, result.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_dialogues(version: str) -> None:
    result = run(version, "-m", "pytest", "-q", "tests/dialogue", "-k", "not timeout")
    assert result.returncode == 0, result.stdout[-4000:]


#: What runs aiosmtpd's code: the plugin for handlers, the room behind it, and others' handlers.
HANDLERS = (
    "tests/unit/handlers",
    "tests/unit/plugins/test_aiosmtpd.py",
    "tests/conformance/test_aiosmtpd_examples.py",
)


@pytest.mark.parametrize("version", VERSIONS)
def test_handlers(version: str) -> None:
    result = run(version, "-m", "pytest", "-q", *HANDLERS)
    assert result.returncode == 0, result.stdout[-4000:]
