# SPDX-License-Identifier: MIT
"""The harness itself: what a guest reports is read right, and nothing outlives its test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.debian_system import GUEST_RESULTS, Outcome, System, base_tar, unpacked

LOG = """\
12:00 python3[1]: Started.
12:01 python3[1]: ok first
12:02 python3[1]: talking
12:03 python3[1]: not ok second ValueError: it broke
12:04 python3[1]: ok third
"""


@pytest.fixture
def outcome() -> Outcome:
    return Outcome({"first": "", "second": "ValueError: it broke"}, LOG)


def test_a_passed_check_is_no_failure(outcome: Outcome) -> None:
    assert outcome.failure("first") is None


def test_a_failed_check_comes_with_its_part_of_the_log(outcome: Outcome) -> None:
    failure = outcome.failure("second") or ""
    assert failure.startswith("second: ValueError: it broke\n")
    assert "talking" in failure
    assert "Started" not in failure
    assert "third" not in failure


def test_a_check_that_was_not_reported_failed(outcome: Outcome) -> None:
    failure = outcome.failure("fourth") or ""
    assert "fourth: the guest did not report this check" in failure
    assert LOG.strip() in failure


def _boot(system: System, script: str, timeout: float = 60) -> Outcome:
    system.write("/root/script", f"#!/bin/sh\n{script}\n", 0o755)
    return system.boot(("/root/script",), timeout)


@pytest.mark.real_systems
def test_a_script_reports_from_a_booted_system_without_a_network() -> None:
    with unpacked(base_tar("trixie")) as system:
        outcome = _boot(
            system,
            f"exec >{GUEST_RESULTS}/results\n"
            "systemctl is-active multi-user.target && echo ok booted\n"
            "echo not ok network $(ls /sys/class/net)\n",
        )
    assert outcome.results["booted"] == ""
    assert outcome.results["network"] == "lo"


@pytest.mark.real_systems
def test_a_script_that_hangs_is_ended_and_leaves_nothing() -> None:
    with unpacked(base_tar("bookworm")) as system:
        outcome = _boot(system, f"echo ok early >{GUEST_RESULTS}/results; sleep infinity", 5)
    assert outcome.results == {"early": ""}
    assert "timed out" in outcome.log
    assert not system.root.parent.exists()
    assert str(system.root) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/qpsmtpd-test-{os.getpid()}-*"))
