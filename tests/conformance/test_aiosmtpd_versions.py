# SPDX-License-Identifier: MIT
"""The daemon works on every aiosmtpd it is to run on: that of Debian 12, 13, and the newest.

The newest is the one of the virtual environment, with which everything runs anyway.  Debian's
own builds run in the booted systems of tests/packaging.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.conformance import other_versions
from tests.conformance.other_versions import installed

#: Upstream versions of Debian 12 and 13.
VERSIONS = ("1.4.3", "1.4.6")


def run(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this aiosmtpd."""
    return other_versions.run(installed("aiosmtpd", version, "--no-deps"), *arguments)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_is_used(version: str) -> None:
    result = run(version, "-c", "import aiosmtpd; print(aiosmtpd.__version__)")
    assert result.stdout.strip() == version, result.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_dialogues(version: str) -> None:
    result = run(version, "-m", "pytest", "-q", "tests/dialogue")
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
