# SPDX-License-Identifier: MIT
"""The benchmark works, from the network name space to the figures; how fast is not judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.results import Results
from tests.debian_system import CHECKOUT, install_on_host

pytestmark = pytest.mark.real_systems

TIMEOUT = 300.0  # seconds; the Debian system may have to be made first


def bench(module: str, *words: str) -> str:
    """What the program printed."""
    done = subprocess.run(
        (sys.executable, "-m", module, *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quick_benchmark(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    results = tmp_path / "results.json"
    words = ("--quick", "--seconds", "0.3", "--runs", "1", "--results", str(results))
    output = bench("tests.bench", *words)
    cells = Results.load(results).cells
    assert len(cells) == 8
    assert [cell.failed for cell in cells.values()] == [""] * 8
    beginnings = ("ratio to bare", "messages per CPU second")
    figures = [line for line in output.splitlines() if line.startswith(beginnings)]
    assert len(figures) == 5
    # For the record: whoever wonders when it became slower finds it in the logs.
    with capsys.disabled():
        print("", *figures, sep="\n")
    for line in figures:
        record_property(*line.rsplit(" ", 1))


def test_a_commit_is_compared_side_by_side(tmp_path: Path) -> None:
    """Also where both have one next hop; which of them is faster is not judged."""
    results = tmp_path / "results.json"
    cases = ("strangers-refused", "smtp-forward")
    words = ("--seconds", "0.3", "--runs", "1", "--results", str(results), "--against", "HEAD")
    output = bench("tests.bench", "--only", ",".join(("ours-1", *cases)), *words)
    cells = Results.load(results).cells
    for case in cases:
        found = cells["ours-1", case].to_before
        assert found is not None
        assert 0.2 < found < 5
        assert f": {case} {found:.2f}" in output


def test_the_default_chain_takes_the_mail(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    cases = ("200-at-once", "strangers", "strangers-refused", "listed", "chain", "dnsbl")
    words = ("--seconds", "0.3", "--runs", "1", "--results", str(results))
    bench("tests.bench", "--only", ",".join(("ours-1", *cases)), *words)
    cells = Results.load(results).cells
    assert {case for _, case in cells} == set(cases)
    assert not any(cell.failed or cell.refused for cell in cells.values())


def test_authentication_by_all_who_can(tmp_path: Path) -> None:
    """Each refuses a message that does not pass, so this tells that they find what they need."""
    results = tmp_path / "results.json"
    servers = ("ours-1", "haraka", "postfix-milters", "postfix-rspamd")
    only = ",".join((*servers, "authentication-off", "authentication", "authentication-5"))
    words = ("--only", only, "--seconds", "0.3", "--runs", "1", "--results", str(results))
    output = bench("tests.bench", *words)
    cells = Results.load(results).cells
    assert len(cells) == 3 * len(servers)
    assert {key: cell.failed for key, cell in cells.items() if cell.failed} == {}
    assert not any(cell.refused for cell in cells.values())
    assert "\nmicroseconds more than authentication-off: authentication " in output


def test_graded_chains_by_all_who_can(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    servers = ("ours-1", "perl-prefork", "haraka", "postfix-rspamd")
    cases = ("chain-minimal", "chain-standard", "chain-strict")
    only = ",".join((*servers, *cases))
    bench(
        "tests.bench", "--only", only, "--seconds", "0.3", "--runs", "1", "--results", str(results)
    )
    cells = Results.load(results).cells
    assert len(cells) == len(cases) * len(servers)
    assert {key: cell.failed for key, cell in cells.items() if cell.failed} == {}
    assert not any(cell.refused for cell in cells.values())


def test_a_slow_dns() -> None:
    """Whatever the figures are: 50 clients each are served, and what held the loop is told."""
    words = (sys.executable, "-m", "tests.bench.slowdns", "--clients", "50", "--runs", "1")
    done = subprocess.run(
        words, cwd=CHECKOUT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    rows = done.stdout.splitlines()
    assert len(rows) == 3, done.stderr
    assert all(" look-ups in a chain, " in row and "; 50 at once, " in row for row in rows)
    assert [row.endswith("loop held -") for row in rows] == [True, True, False]


def test_verifiers_in_process() -> None:
    head, *rows = bench("tests.bench.verifiers", "0.01").splitlines()
    assert head.split()[1:5] == ["ours", "dkimpy", "and", "pyspf"]
    assert [row.split()[0] for row in rows] == ["SPF", "DMARC", "DKIM,", "DKIM,", "DKIM,"]


def test_instructions_of_a_message() -> None:
    install_on_host({"valgrind": "valgrind"})
    output = bench("tests.bench.instructions", "--only", "strangers-refused")
    _, row = output.splitlines()
    instructions, i1_misses, d1_misses, _ = map(int, row.split()[-4:])
    assert 10_000 < instructions < 100_000_000
    assert 0 < i1_misses < instructions
    assert 0 < d1_misses < instructions


def test_bytecodes_of_a_message_here_and_in_a_commit() -> None:
    words = ("--only", "strangers-refused", "--by-part", "--against", "HEAD")
    output = bench("tests.bench.instructions", *words)
    totals = [line.split()[1] for line in output.splitlines() if line.startswith("  all ")]
    assert len(totals) == 4  # by file and by function
    assert all(100 < int(total) < 1_000_000 for total in totals)
    assert "  smtp/" in output
