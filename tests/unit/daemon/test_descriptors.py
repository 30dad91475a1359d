# SPDX-License-Identifier: MIT
"""The limit of open files."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.daemon import descriptors
from tests.unit.client import PATIENCE

SOFT_HARD_WANTED = """
import resource, sys
from qpsmtpd.daemon import descriptors
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.raise_limit(connections)
print(descriptors.open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "provided"),
    [
        (300, 4000, 1000, 1701),
        (300, 900, 1000, 900),
        (300, 900, 0, 900),
        (800, 900, 100, 800),
    ],
)
def test_provide(soft: int, hard: int, connections: int, provided: int) -> None:
    """As many as are needed, but not more than root permits, and never fewer than there were."""
    command = [sys.executable, "-c", SOFT_HARD_WANTED, *map(str, (soft, hard, connections))]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert told.stdout.split() == [str(provided), str(hard)]


@given(st.integers(1, 10**6))
def test_what_is_provided_is_enough(connections: int) -> None:
    enough = descriptors.connections_for(descriptors._needed(connections))
    assert connections <= enough <= connections + 1


def test_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "open_files", lambda: 1400)
    assert list(descriptors.check_limit(800, 1)) == []
    assert list(descriptors.check_limit(1600, 2)) == []
    assert list(descriptors.check_limit(0, 1)) == []
    (problem,) = descriptors.check_limit(1601, 2)
    assert problem.severity == "warning"
    assert "max_connections" in str(problem)
    assert "1601" in str(problem) and "1400" in str(problem) and "1600" in str(problem)
    assert "LimitNOFILE=" in str(problem)


HARDLY_ANY = """
import os, resource
from qpsmtpd.daemon import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
opened = []
try:
    while True:
        opened.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for _ in range(descriptors.SPARE + 1):
    # They need not be the last ones.
    os.close(opened.pop(3))
    try:
        descriptors.check_spare()
        print("enough")
    except OSError as error:
        print(error.strerror)
"""


def test_hardly_any_are_free() -> None:
    command = [sys.executable, "-c", HARDLY_ANY]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    few = ["Too many open files"] * (descriptors.SPARE - 1)
    assert told.stdout.splitlines() == [*few, "enough", "enough"]


def test_a_shortage_is_logged_once_and_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptors, "open_files", lambda: 260)
    now = 100.0
    shortage = descriptors.Shortage(lambda: now)
    error = OSError(errno.EMFILE, "Too many open files")
    shortage.ends()
    for number in range(5):
        shortage.begins(error, number)
    now += 2.5
    shortage.ends()
    shortage.ends()
    expected = [
        "cannot accept connections for now: Too many open files limit=260 connections=0",
        "accepting connections again seconds=2.5",
    ]
    assert caplog.messages == expected
    # One that comes and goes says no more than every ten seconds.
    for _ in range(4):
        shortage.begins(error, 7)
        now += 2.5
        shortage.ends()
    assert len(caplog.messages) == 4
