# SPDX-License-Identifier: MIT
"""The store speaks to Redis with the library of Debian 12 and of Debian 13.

The newest is the one of the virtual environment, which the unit tests use.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redis_server import program

CHECKOUT = Path(__file__).parents[2]

#: Upstream versions of Debian 12 and 13.
VERSIONS = ("4.3.4", "6.1.0")

TESTS = [f"tests/unit/store/{name}.py" for name in ("test_contract", "test_redis")]


def installed(version: str) -> Path:
    """A directory with this version of the library, to stand in front of the installed one."""
    directory = CHECKOUT / ".cache" / f"redis-{version}"
    if not (directory / "redis").is_dir():
        command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        target = ["--target", str(directory), f"redis=={version}"]
        subprocess.run([sys.executable, *command, *target], check=True, timeout=120)
    return directory


def run(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this version."""
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
def test_the_store(version: str) -> None:
    program()  # without one the test is skipped
    shown = run(version, "-c", "import redis; print(redis.__version__)")
    assert shown.stdout.strip() == version, shown.stderr
    chosen = ("-k", "not fake and not sqlite")
    result = run(version, "-m", "pytest", "-q", *TESTS, *chosen)
    assert result.returncode == 0, result.stdout[-4000:]
