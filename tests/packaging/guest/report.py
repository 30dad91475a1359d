# SPDX-License-Identifier: MIT
"""What a guest's script needs: report a check, expect a condition, wait for one, run a command."""

from __future__ import annotations

import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.debian_system import GUEST_RESULTS

T = TypeVar("T")

RESULTS = Path(GUEST_RESULTS)
PATIENCE = 20.0  # seconds; far more than anything waited for here takes
POLL_INTERVAL = 0.05  # seconds


@contextmanager
def check(name: str) -> Iterator[None]:
    """Report one line for what happens inside: passed, or the reason why not."""
    line = f"ok {name}"
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split())
        line = f"not ok {name} {type(error).__name__}: {reason}"
    print(f"{line} ({time.monotonic() - began:.1f} s)", flush=True)
    with (RESULTS / "results").open("a") as results:
        results.write(f"{line}\n")


def expect(condition: object, otherwise: str) -> None:
    """Raise AssertionError with this explanation unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def note_figure(text: str) -> None:
    """Keep what was measured, with the logs."""
    print(text, flush=True)
    with (RESULTS / "figures").open("a") as figures:
        figures.write(f"{text}\n")


def wait_for(what: str, probe: Callable[[], T | None]) -> T:
    """Call `probe` until it returns something true; AssertionError when it never does."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        if found := probe():
            return found
        time.sleep(POLL_INTERVAL)
    raise AssertionError(f"no {what} within {PATIENCE:.0f} s")


def run(*command: str) -> str:
    """Run a command of this system; RuntimeError with its output when it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def keep_log(path: str) -> None:
    """Make a log file part of what the host shows for a failed check."""
    if Path(path).exists():
        shutil.copy(path, RESULTS / Path(path).name)
