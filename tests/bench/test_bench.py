# SPDX-License-Identifier: MIT
"""The quick benchmark works, from the network name space to the ratios; how fast is not judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.results import Results
from tests.debian_system import CHECKOUT

pytestmark = pytest.mark.real_systems

TIMEOUT = 300.0  # seconds; the Debian system may have to be made first


def test_quick_benchmark(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    results = tmp_path / "results.json"
    words = ("--quick", "--seconds", "0.3", "--runs", "1", "--results", str(results))
    done = subprocess.run(
        (sys.executable, "-m", "tests.bench", *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = Results.load(results).cells
    assert len(cells) == 8
    assert [cell.failed for cell in cells.values()] == [""] * 8
    beginnings = ("ratio to bare", "messages per CPU second")
    figures = [line for line in done.stdout.splitlines() if line.startswith(beginnings)]
    assert len(figures) == 5
    # For the record: whoever wonders when it became slower finds it in the logs.
    with capsys.disabled():
        print("", *figures, sep="\n")
    for line in figures:
        record_property(*line.rsplit(" ", 1))
