# SPDX-License-Identifier: MIT
"""Other versions of a library than that of the virtual environment, and Python with one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.isolation import locked

CHECKOUT = Path(__file__).parents[2]
CACHE = CHECKOUT / ".cache"

PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
PIP_TIMEOUT = 120.0  # seconds
TIMEOUT = 150.0  # seconds, of what is run


def installed(library: str, version: str, *options: str) -> Path:
    """A directory with this version in it, to stand in front of the installed one."""
    directory = CACHE / f"{library}-{version}"
    CACHE.mkdir(exist_ok=True)
    with locked(CACHE / f"{directory.name}.lock"):
        if not (directory / library).is_dir():
            target = ("--target", str(directory), f"{library}=={version}")
            subprocess.run(
                [sys.executable, *PIP, *options, *target], check=True, timeout=PIP_TIMEOUT
            )
    return directory


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with what is in this directory."""
    path = os.pathsep.join((str(directory), str(CHECKOUT)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
